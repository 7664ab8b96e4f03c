#ifndef MP_PROCESS_INTERNAL_LIVE_CHILDREN_H_
#define MP_PROCESS_INTERNAL_LIVE_CHILDREN_H_

#include <sys/types.h>

#include "absl/functional/function_ref.h"

// The child processes of this process, in a table that a signal handler can
// read: it may have interrupted anything, and takes no lock.
namespace mp::internal {

struct LiveProcess {
  pid_t pid;
  int pidfd;
  bool daemon;
  // For the handler: whether it has to wait for this one.
  bool awaited = true;
};

// Lists a child for as long as the object lives, which must not be longer than
// its pidfd is open.
//
// Threads: safe from any.
// Fork:    one of the parent's is not listed in a forked child, and its
//          destructor does nothing there.
class LiveChild {
 public:
  LiveChild(pid_t pid, int pidfd, bool daemon);

  // Does not return if ForEachLiveChild() has been called: the process is about
  // to end, and until then the handler uses the pidfd, whose number must not
  // be given to anything else.
  ~LiveChild();

  LiveChild(const LiveChild&) = delete;
  LiveChild& operator=(const LiveChild&) = delete;

 private:
  void* const slot_;
  const pid_t owner_;
};

// In a handler that ends the process: visits those that are listed, if they are
// children of this process. Async-signal-safe.
void ForEachLiveChild(absl::FunctionRef<void(LiveProcess&)> visit);

// In a forked child: these are the children of somebody else.
void ForgetLiveChildren();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_LIVE_CHILDREN_H_
