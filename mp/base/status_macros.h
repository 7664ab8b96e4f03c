#ifndef MP_BASE_STATUS_MACROS_H_
#define MP_BASE_STATUS_MACROS_H_

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Three macros for absl::Status, which older releases of Abseil lack.
//
// Example:
//   absl::StatusOr<Digest> HashFirst(const std::string& folder) {
//     MP_ASSIGN_OR_RETURN(std::vector<std::string> files, List(folder));
//     MP_RETURN_IF_ERROR(CheckNotEmpty(files));
//     return Hash(files[0]);
//   }
//   int main() { MP_CHECK_OK(HashFirst("/etc").status()); }
//
// Source: the macros of the same shape in Google's own code and in gRPC.

// Returns the status of `expression` from the enclosing function unless it is
// OK. `expression` is an absl::Status.
#define MP_RETURN_IF_ERROR(expression)                                \
  do {                                                                \
    if (::absl::Status mp_status_ = (expression); !mp_status_.ok()) { \
      return mp_status_;                                              \
    }                                                                 \
  } while (false)

// Evaluates `expression`, an absl::StatusOr<T>, and either assigns its value to
// `lhs`, which may be a declaration, or returns its status. A declaration with
// a comma needs parentheses:
//   MP_ASSIGN_OR_RETURN((auto [reader, writer]), MakePipe());
#define MP_ASSIGN_OR_RETURN(lhs, expression)                          \
  MP_ASSIGN_OR_RETURN_IMPL_(MP_CONCAT_(mp_status_or_, __LINE__), lhs, \
                            expression)

// Ends the process with a line on stderr and SIGABRT unless `expression`, an
// absl::Status or absl::StatusOr, is OK. For main() and for what cannot fail.
#define MP_CHECK_OK(expression)                                               \
  do {                                                                        \
    const ::absl::Status mp_status_ = ::mp::internal::ToStatus((expression)); \
    if (!mp_status_.ok()) {                                                   \
      ::mp::internal::DieBecauseNotOk(__FILE__, __LINE__, #expression,        \
                                      mp_status_);                            \
    }                                                                         \
  } while (false)

#define MP_CONCAT_IMPL_(a, b) a##b
#define MP_CONCAT_(a, b) MP_CONCAT_IMPL_(a, b)

#define MP_ASSIGN_OR_RETURN_IMPL_(status_or, lhs, expression) \
  auto status_or = (expression);                              \
  if (!status_or.ok()) return std::move(status_or).status();  \
  MP_UNWRAP_(lhs) = *std::move(status_or)

// Takes the parentheses off `x`, if it has any. With them, MP_WRAPPED_ is
// called and leaves its own name in front; without, it was there already.
// Pasting turns the name into MP_NO_MP_WRAPPED_, which is nothing.
#define MP_UNWRAP_(x) MP_UNWRAP_IMPL_(MP_WRAPPED_ x)
#define MP_WRAPPED_(...) MP_WRAPPED_ __VA_ARGS__
#define MP_UNWRAP_IMPL_(...) MP_PASTE_(__VA_ARGS__)
#define MP_PASTE_(...) MP_NO_##__VA_ARGS__
#define MP_NO_MP_WRAPPED_

namespace mp::internal {

inline absl::Status ToStatus(absl::Status status) { return status; }

template <typename T>
absl::Status ToStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

[[noreturn]] inline void DieBecauseNotOk(const char* file, int line,
                                         const char* expression,
                                         const absl::Status& status) {
  std::fprintf(stderr, "%s:%d: MP_CHECK_OK(%s): %s\n", file, line, expression,
               status.ToString().c_str());
  std::abort();
}

}  // namespace mp::internal

#endif  // MP_BASE_STATUS_MACROS_H_
