#ifndef MP_TESTING_TRACEE_H_
#define MP_TESTING_TRACEE_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/testing/child.h"

namespace mp::testing {

// A child process that goes only as far as it is told to. A part of StepKiller,
// which see.
//
// Example:
//   MP_ASSIGN_OR_RETURN(Tracee tracee, Tracee::Start([] {
//     Tracee::Mark();
//     return Work();
//   }, absl::Seconds(60)));
//   MP_ASSIGN_OR_RETURN(stop, tracee.Go(Tracee::kToMark, [] {}));
//   MP_ASSIGN_OR_RETURN(stop, tracee.Go(Tracee::kOneInstruction, [] {}));
//   tracee.child().Kill(SIGKILL);
//
// Shape:   x86-64.
// Owns:    the child, which is killed with it.
// Threads: only the one that called Start().
// Source:  man 2 ptrace.
class Tracee {
 public:
  enum How { kOneInstruction, kToSystemCall, kToMark };
  enum class Stop { kStepped, kMark, kEnded };

  // Has `body` run in a child, which waits for the first Go(). No Go() takes
  // longer than `patience`.
  static absl::StatusOr<Tracee> Start(std::function<absl::Status()> body,
                                      absl::Duration patience);

  // In the child: a place where each Go() stops.
  static void Mark();

  // Lets the child go on, until it has done what `how` says, came to a mark or
  // ended, whichever is first. Calls `on_asleep` when it sleeps in a system
  // call before that, at most once; to kill the child is allowed there.
  // Signals reach the child as if it were alone.
  //
  // Errors:
  //   kPermissionDenied  ptrace(2) is forbidden.
  //   kDeadlineExceeded  the child did not stop in time.
  absl::StatusOr<Stop> Go(How how, const std::function<void()>& on_asleep);

  // Where the instruction lies that is next.
  absl::StatusOr<uint64_t> Address() const;

  // Lets the child go on until the instruction at `address` is next; if it is
  // so already, until it is again. Much faster than one instruction after the
  // other. Calls `on_asleep` each time that it sleeps on the way.
  //
  // Errors: those of Go(), and
  //   kInternal  there is no code at `address` that can be changed.
  absl::StatusOr<Stop> GoTo(uint64_t address,
                            const std::function<void()>& on_asleep);

  Child& child() { return child_; }

 private:
  Tracee(Child child, absl::Duration patience)
      : child_(std::move(child)), patience_(patience) {}

  absl::Status Resume(How how);
  absl::Status AwaitStop(const std::function<void()>& on_asleep);
  absl::StatusOr<bool> HasStopped();
  bool IsAsleep() const;
  absl::StatusOr<bool> IsAtMark() const;
  absl::StatusOr<Stop> GoToTrap(uint64_t address,
                                const std::function<void()>& on_asleep);

  Child child_;
  absl::Duration patience_;
  bool has_ended_ = false;
  int signal_ = 0;     // that it stopped for
  bool owes_ = false;  // whether the child is still to get that signal
};

}  // namespace mp::testing

#endif  // MP_TESTING_TRACEE_H_
