#ifndef MP_SHAREDMEM_INTERNAL_REGISTRY_LAYOUT_H_
#define MP_SHAREDMEM_INTERNAL_REGISTRY_LAYOUT_H_

#include <climits>
#include <cstddef>
#include <cstdint>

// The bytes of the file that tells who owns which named blocks:
// docs/shared_memory_registry.md.
namespace mp::internal {

struct RegistryHeader {
  char magic[8];
  uint32_t version;
  uint32_t page_bytes;
};
inline constexpr RegistryHeader kRegistryHeader = {
    {'m', 'p', '.', 'o', 'w', 'n', 'e', 'r'}, 1, 4096};

// Behind the header: for each page, one more than the number of its owner's
// first page, or 0 if it is nobody's.
inline constexpr size_t kLeadsOffset = 64;
using RegistryLead = uint32_t;

inline constexpr size_t kRegistryPageBytes = 4096;
inline constexpr size_t kPagesOffset = 4 * kRegistryPageBytes;
inline constexpr size_t kMaxRegistryPages =
    (kPagesOffset - kLeadsOffset) / sizeof(RegistryLead);

// A block, if `inode` is not 0.
struct RegistryRecord {
  uint64_t inode;
  char name[NAME_MAX + 1];  // ends with a NUL
};

// Written by one process while that lives.
struct RegistryPage {
  static constexpr size_t kRecords =
      kRegistryPageBytes / sizeof(RegistryRecord);

  RegistryRecord records[kRecords];
};

static_assert(sizeof(RegistryHeader) == 16);
static_assert(sizeof(RegistryRecord) == 264);
static_assert(RegistryPage::kRecords == 15);
static_assert(sizeof(RegistryPage) <= kRegistryPageBytes);

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_REGISTRY_LAYOUT_H_
