#include "mp/base/open_file.h"

#include <sys/stat.h>

namespace mp {

OpenFile::OpenFile(int fd) {
  struct stat info;
  if (fstat(fd, &info) != 0) return;
  is_known_ = true;
  device_ = info.st_dev;
  inode_ = info.st_ino;
}

bool OpenFile::IsOn(int fd) const {
  const OpenFile now(fd);
  return is_known_ && now.is_known_ && now.device_ == device_ &&
         now.inode_ == inode_;
}

}  // namespace mp
