#ifndef MP_PROCESS_FIELDS_H_
#define MP_PROCESS_FIELDS_H_

#include <tuple>
#include <type_traits>

// Declares which fields of a struct travel to another process: all that its
// copy there needs, in any order.
//
// Example:
//   struct Job {
//     std::string path;
//     std::vector<int> lines;
//     MP_FIELDS(path, lines)
//   };
//
// The struct needs a default constructor, which the receiver calls before it
// fills the fields in; a private one will not do. Fields left out keep the
// value that it gives them. A derived struct declares its own MP_FIELDS, with
// the inherited fields, or does not travel. May stand in a private section.
//
// A function object that declares its captures as fields is a callable that
// travels:
//   struct Scale {
//     double factor;
//     double operator()(double x) const { return factor * x; }
//     MP_FIELDS(factor)
//   };
#define MP_FIELDS(...)                       \
  friend struct ::mp::internal::FieldAccess; \
  auto MpFields() { return std::tie(__VA_ARGS__); }

namespace mp::internal {

// Reaches what MP_FIELDS declares, wherever it stands in the struct.
struct FieldAccess {
  template <typename T, typename Fields>
  static T ClassOf(Fields (T::*)());

  template <typename T>
  static auto Of(T& value) -> decltype(value.MpFields()) {
    return value.MpFields();
  }

  // The struct in whose own body the MP_FIELDS of T stands, maybe a base of it,
  // or void.
  template <typename T>
  static auto Owner(int) -> decltype(ClassOf(&T::MpFields));
  template <typename T>
  static void Owner(...);
};

template <typename T>
concept HasFields = std::is_class_v<T> &&
    std::is_same_v<decltype(FieldAccess::template Owner<T>(0)), T>;

}  // namespace mp::internal

#endif  // MP_PROCESS_FIELDS_H_
