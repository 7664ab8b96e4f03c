#ifndef MP_POOL_INTERNAL_FUNCTION_NAME_H_
#define MP_POOL_INTERNAL_FUNCTION_NAME_H_

#include <string>
#include <type_traits>
#include <typeinfo>

namespace mp::internal {

// Which function a task calls, to be named when somebody asks.
struct FunctionId {
  const void* address = nullptr;  // of a plain function
  const std::type_info* type = nullptr;
};

// To be specialised for what wraps a function.
template <typename F>
struct FunctionIdOf {
  static FunctionId Of(const F& function) {
    FunctionId id{nullptr, &typeid(F)};
    if constexpr (std::is_pointer_v<F> &&
                  std::is_function_v<std::remove_pointer_t<F>>) {
      id.address = reinterpret_cast<const void*>(function);
    }
    return id;
  }
};

// Returns the symbol of a function, or else its type; "?" if it is unknown, or
// its library is not loaded any more. Reads the whole file of the program or
// library, so this is for a few.
//
// Source: man 3 dladdr; man 5 elf.
std::string FunctionName(const FunctionId& id);

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_FUNCTION_NAME_H_
