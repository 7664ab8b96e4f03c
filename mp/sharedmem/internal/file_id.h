#ifndef MP_SHAREDMEM_INTERNAL_FILE_ID_H_
#define MP_SHAREDMEM_INTERNAL_FILE_ID_H_

#include <sys/stat.h>

#include <compare>
#include <cstdint>

namespace mp::internal {

// Which file it is, whatever it is called.
struct FileId {
  uint64_t device = 0;
  uint64_t inode = 0;

  static FileId Of(const struct stat& info) {
    return {.device = info.st_dev, .inode = info.st_ino};
  }

  friend auto operator<=>(const FileId&, const FileId&) = default;
};

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_FILE_ID_H_
