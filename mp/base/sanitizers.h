#ifndef MP_BASE_SANITIZERS_H_
#define MP_BASE_SANITIZERS_H_

// Which sanitizer this is compiled for. (g++ and clang say it differently.)
#if defined(__has_feature)
#define MP_HAS_FEATURE_(feature) __has_feature(feature)
#else
#define MP_HAS_FEATURE_(feature) 0
#endif

namespace mp {

#if defined(__SANITIZE_ADDRESS__) || MP_HAS_FEATURE_(address_sanitizer)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

#if defined(__SANITIZE_THREAD__) || MP_HAS_FEATURE_(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

}  // namespace mp

#undef MP_HAS_FEATURE_

#endif  // MP_BASE_SANITIZERS_H_
