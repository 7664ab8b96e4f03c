#ifndef MP_PROCESS_AFTER_FORK_H_
#define MP_PROCESS_AFTER_FORK_H_

#include <cstdint>
#include <functional>

namespace mp {

namespace internal {

// In a forked child: runs all that there are.
void RunAfterFork();

}  // namespace internal

// Something to do in the children that this process forks, for as long as the
// object lives.
//
// Example:
//   class Client {
//     mp::AfterFork reconnect_{[this] { connection_.Close(); }};
//   };
//
// It runs in children of the start method fork only, before their function, in
// the order in which the objects were made. One that is made by another one's
// callback waits for the next fork; one that dies there does not run any more.
// What a callback throws is logged as a warning, and the others still run.
//
// Owns:    the callback.
// Threads: safe from any.
// Fork:    a child has those of its parent, and runs them in its own children.
// Source:  CPython multiprocessing.util.register_after_fork(). Differs: the
//          object that it watches is the one that has it as a member.
class AfterFork {
 public:
  explicit AfterFork(std::function<void()> callback);
  ~AfterFork();
  AfterFork(const AfterFork&) = delete;
  AfterFork& operator=(const AfterFork&) = delete;

 private:
  friend struct AfterForkList;
  friend void internal::RunAfterFork();

  const std::function<void()> callback_;
  uint64_t number_;  // the order in which they were made
  // The neighbours in the list of all.
  AfterFork* previous_;
  AfterFork* next_ = nullptr;
};

}  // namespace mp

#endif  // MP_PROCESS_AFTER_FORK_H_
