#include "mp/process/internal/object_call.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <typeinfo>

#include "absl/strings/string_view.h"

namespace mp::internal {
namespace {

thread_local bool is_received = false;

}  // namespace

bool ObjectIsReceived() { return is_received; }

ReceivingScope::ReceivingScope() { is_received = true; }
ReceivingScope::~ReceivingScope() { is_received = false; }

std::string ClassName(const std::type_info& type) {
  int error;
  const std::unique_ptr<char, decltype(&std::free)> full(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &error), &std::free);
  if (error != 0) return "Process";
  absl::string_view name = full.get();
  name = name.substr(0, name.find('<'));
  name.remove_prefix(name.rfind(':') + 1);  // npos + 1 is 0
  return std::string(name);
}

}  // namespace mp::internal
