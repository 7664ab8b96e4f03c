#ifndef MP_SHAREDMEM_INTERNAL_LINK_FILE_H_
#define MP_SHAREDMEM_INTERNAL_LINK_FILE_H_

#include <string>

namespace mp::internal {

// Gives a name to a file that O_TMPFILE has made. Returns false and sets errno
// where that fails: EEXIST if the name is taken; EOPNOTSUPP if the kernel is
// one of before 6.10, and /proc, by which it can be done there, not mounted.
//
// Source: man 2 open, O_TMPFILE; man 2 linkat, AT_EMPTY_PATH.
bool LinkFile(int fd, const std::string& path);

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_LINK_FILE_H_
