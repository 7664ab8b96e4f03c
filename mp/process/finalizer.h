#ifndef MP_PROCESS_FINALIZER_H_
#define MP_PROCESS_FINALIZER_H_

#include <functional>
#include <memory>
#include <optional>

namespace mp {

// Something to do once: when this object dies, when it is asked for or, with a
// priority, at the exit of the process.
//
// Example:
//   class Cache {
//     std::string folder_ = MakeFolder();
//     mp::Finalizer remove_{[f = folder_] { RemoveAll(f); }, /*priority=*/0};
//   };
//
// At exit, those of a higher priority run first, and of the same one the
// newest; also those that are made meanwhile. Those of priority 0 and above run
// before the processes that this one has started are ended and waited for, the
// others after that.
//
// Owns:    the callback, until it has run or was cancelled.
// Threads: different ones are safe from any thread, also while the process
//          exits; then the one that dies does not wait for its callback, if
//          that is running already. A callback does not call mp::Exit().
// Fork:    belongs to the process that made it: in a forked child it does
//          nothing. A thread that stands for a process is no other process.
// Death:   a process that is killed, or leaves by _exit(), runs none.
// Source:  CPython multiprocessing.util.Finalize. Differs: the object that it
//          watches is the one that has it as a member.
class Finalizer {
 public:
  // One that has nothing to do.
  Finalizer() = default;

  explicit Finalizer(std::function<void()> callback,
                     std::optional<int> exit_priority = std::nullopt);

  Finalizer(Finalizer&&) noexcept = default;
  // Runs what it had to do before.
  Finalizer& operator=(Finalizer&& other) noexcept;

  // Runs the callback, if nobody has. What that throws is told on stderr.
  ~Finalizer();

  // Runs the callback now, and never again. Returns false if there is nothing
  // to do any more. An exception reaches the caller.
  bool Run();

  // Has it never run.
  void Cancel();

  // Whether it is still to run.
  bool still_active() const;

 private:
  struct State;

  std::shared_ptr<State> state_;

  friend struct FinalizerRegistry;
};

namespace internal {

// Runs the finalizers of this process that have a priority, `min_priority` or
// more, until there are none. What they throw is told on stderr.
void RunFinalizers(std::optional<int> min_priority);

// Says that somebody calls RunFinalizers() at exit. Otherwise an exit handler,
// set when the first finalizer with a priority is made, does.
void TakeOverFinalizersAtExit();

}  // namespace internal
}  // namespace mp

#endif  // MP_PROCESS_FINALIZER_H_
