#include "mp/process/internal/exception_name.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <typeinfo>

namespace mp::internal {

std::string ExceptionName() {
  const std::type_info* const type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "a foreign exception";
  int error;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type->name(), nullptr, nullptr, &error), &std::free);
  return error == 0 ? name.get() : type->name();
}

}  // namespace mp::internal
