#ifndef MP_BASE_OPEN_FILE_H_
#define MP_BASE_OPEN_FILE_H_

#include <sys/types.h>

namespace mp {

// What a descriptor was open on, to see later whether it still is: a program
// may have closed all descriptors that it does not know, and opened others
// since, which have their numbers.
//
// Example:
//   const OpenFile ours(pipe.get());
//   ...
//   if (!ours.IsOn(pipe.get())) static_cast<void>(pipe.Release());
//
// Threads: a value.
// Source:  man 3 stat, st_dev and st_ino; not for pidfds, eventfds and the
//          like, which share theirs.
class OpenFile {
 public:
  // Nothing, which no descriptor is open on.
  OpenFile() = default;

  // That of a descriptor; nothing if it is closed.
  explicit OpenFile(int fd);

  bool IsOn(int fd) const;

 private:
  bool is_known_ = false;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace mp

#endif  // MP_BASE_OPEN_FILE_H_
