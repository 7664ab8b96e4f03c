#include "mp/process/internal/environment.h"

#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

namespace mp::internal {

std::vector<std::string> CopyEnvironment() {
  std::vector<std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    environment.emplace_back(*entry);
  }
  return environment;
}

void ReplaceEnvironment(std::vector<std::string> environment) {
  static std::vector<std::string>* strings_of_now = nullptr;
  static std::vector<char*>* pointers_of_now = nullptr;
  // They outlive exit handlers.
  if (strings_of_now == nullptr) strings_of_now = new std::vector<std::string>;
  if (pointers_of_now == nullptr) pointers_of_now = new std::vector<char*>;
  std::vector<std::string>& strings = *strings_of_now;
  std::vector<char*>& pointers = *pointers_of_now;
  strings = std::move(environment);
  pointers.clear();
  for (std::string& entry : strings) pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  environ = pointers.data();
}

}  // namespace mp::internal
