#ifndef MP_BASE_FORK_HOOK_H_
#define MP_BASE_FORK_HOOK_H_

#include <functional>

namespace mp {

// Something to do in the children that this process forks, for as long as the
// object lives.
//
// Example:
//   ForkHook hook_{[this] { CloseInForkedChild(); }};
//
// The hooks run in mp's own forked children only, before their function, in the
// order in which they were made. They must not make or destroy hooks.
//
// Threads: safe from any.
// Source:  CPython multiprocessing.util.register_after_fork().
class ForkHook {
 public:
  explicit ForkHook(std::function<void()> run);
  ~ForkHook();
  ForkHook(const ForkHook&) = delete;
  ForkHook& operator=(const ForkHook&) = delete;

  // In a forked child: runs all that there are.
  static void RunAll();

 private:
  const std::function<void()> run_;
  // The neighbours in the list of all.
  ForkHook* previous_;
  ForkHook* next_ = nullptr;
};

}  // namespace mp

#endif  // MP_BASE_FORK_HOOK_H_
