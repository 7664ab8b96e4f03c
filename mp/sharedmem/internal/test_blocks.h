#ifndef MP_SHAREDMEM_INTERNAL_TEST_BLOCKS_H_
#define MP_SHAREDMEM_INTERNAL_TEST_BLOCKS_H_

#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/shared_memory.h"

// What tests of named blocks have in common.
namespace mp::internal {

inline std::string PathOf(const std::string& name) {
  return absl::StrCat("/dev/shm/", name);
}

// Whether there is such a name, without looking for dead owners.
inline bool IsThere(const std::string& name) {
  return access(PathOf(name).c_str(), F_OK) == 0;
}

// Of the file that says who owns which names.
inline std::string RegistryPath() {
  return PathOf(absl::StrCat(".mp_owners.", geteuid()));
}

inline SharedMemory MakeNamed(const std::string& name, bool track = true) {
  auto block =
      SharedMemory::Create(100, {.name = name, .named = true, .track = track});
  MP_CHECK_OK(block.status());
  return *std::move(block);
}

inline std::vector<std::string> ListedNames() {
  const auto blocks = SharedMemory::List();
  MP_CHECK_OK(blocks.status());
  std::vector<std::string> names;
  for (const SharedMemoryInfo& block : *blocks) names.push_back(block.name);
  return names;
}

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_TEST_BLOCKS_H_
