#ifndef MP_PROCESS_INTERNAL_FORK_CLOSED_H_
#define MP_PROCESS_INTERNAL_FORK_CLOSED_H_

#include "mp/base/fd.h"

namespace mp::internal {

// Has a descriptor closed in every child that another thread forks while this
// object lives: there it would keep the other end from ever seeing that this
// process is gone.
//
// Example:
//   MP_ASSIGN_OR_RETURN(SocketPair sockets, CreateSocketPair());
//   const ForkClosed closed(sockets.first);
//
// Owns:    nothing. The descriptor must be open for as long.
// Threads: safe from any.
// Fork:    the forked child has none of its parent's.
class ForkClosed {
 public:
  explicit ForkClosed(const Fd& fd);
  ~ForkClosed();
  ForkClosed(const ForkClosed&) = delete;
  ForkClosed& operator=(const ForkClosed&) = delete;

 private:
  friend void CloseAfterFork();

  const int fd_;
  // The neighbours in the list of all.
  ForkClosed* previous_;
  ForkClosed* next_ = nullptr;
};

// In a forked child: closes what there is.
void CloseAfterFork();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_FORK_CLOSED_H_
