#ifndef MP_TESTING_STEP_KILLER_H_
#define MP_TESTING_STEP_KILLER_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mp::testing {

// Whether this process may step through its children.
//
// Errors:
//   kUnimplemented      the processor is none that this knows how to step; or
//                       there is a sanitizer, under which the steps to a wait
//                       of 50 ms take longer than that, so that it never waits.
//   kPermissionDenied   the system forbids ptrace(2), or there is none, as
//                       under qemu-user.
absl::Status PtraceAllowed();

// What became of one child.
struct Killed {
  pid_t pid = 0;             // nobody's any more
  int64_t instructions = 0;  // that it executed of the region
  int blocked = 0;           // how often it slept in a system call there
  bool finished = false;     // it came to the end of the region before
};

// Runs a piece of code in child processes, again and again, instruction by
// instruction, and kills each at another one: so that a test sees what those
// that live on make of whatever the dead one left half done.
//
// Example:
//   if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
//   StepKiller killer([&] { return Touch(lock); },        // setup: not stepped
//                     [&] { return Cycle(lock); });       // the region
//   ASSERT_OK_AND_ASSIGN(std::vector<int64_t> points, killer.SomePoints(300));
//   for (int64_t at : points) {
//     Reset(lock);
//     ASSERT_THAT(killer.KillAt(at), IsOk());
//     ...what holds now, at whatever instruction it died?
//   }
//
// `setup` does what need not be stepped: it becomes a member, touches pages.
// Run the region's code once in the test too, before the StepKiller: the first
// call of each function that lies in a shared library looks it up, which is
// thousands of instructions, and forked children inherit what it found.
//
// A region may sleep in system calls. Options::on_blocked is told of it, and
// may have the child go on, by a wake for example; without it, the child sleeps
// for as long as it likes.
//
// Instructions of libraries count too, those of the kernel do not: a system
// call is one. The first child goes step by step, and from then on it is known
// which instructions those are. Those that are killed run to theirs at once, by
// a trap there; so the region has to be the same each time. One that never
// comes to its instruction is killed at the end.
//
// Shape:   x86-64. About 1 ms for a child that is killed. For the first one 3
//          to 30 us for an instruction: switches from process to process, which
//          virtual machines make slow.
// Owns:    no child beyond a call.
// Threads: one thread makes all the calls: ptrace(2) knows the tracer by it.
// Fork:    see RunInChild(): children are forked from the thread that calls.
// Death:   the child dies with this process.
// Source:  man 2 ptrace, PTRACE_SINGLESTEP.
class StepKiller {
 public:
  using Body = std::function<absl::Status()>;

  struct Options {
    // Called in this process each time the child sleeps in a system call.
    std::function<void()> on_blocked = [] {};

    // How long the child may take for one instruction, sleep included, before
    // that is an error.
    absl::Duration patience = absl::Seconds(60);
  };

  // In children, `setup` is called and then `region`. One that does not return
  // OK fails the call here as well, unless the child was killed before.
  StepKiller(Body setup, Body region);
  StepKiller(Body setup, Body region, Options options)
      : setup_(std::move(setup)),
        region_(std::move(region)),
        options_(std::move(options)) {}

  // Steps through the whole region, and lets the child end. Returns how many
  // instructions that were; as many as the child likes if it waits for others.
  //
  // Errors, of this and all that follow:
  //   kPermissionDenied  see PtraceAllowed().
  //   kDeadlineExceeded  the child hung: it was `patience` in one instruction.
  //   kInternal          the child failed, or ended before it was killed.
  absl::StatusOr<int64_t> Count();

  // Returns up to `at_most` instructions at which to kill, evenly distributed
  // over the region from a start that TestSeed() chooses; all that there are in
  // a full test, however long that takes. Of one that is executed again and
  // again, in a loop, the first 8 times count. Counts for that, and prints how
  // many those are.
  absl::StatusOr<std::vector<int64_t>> SomePoints(int at_most);

  // Kills a child after `instructions` of the region: 0 before the first. One
  // that comes to the end of the region earlier is killed there. Goes step by
  // step unless there was a Count() or SomePoints() before.
  absl::StatusOr<Killed> KillAt(int64_t instructions);

  // Kills a child when it sleeps in a system call in the region, for the first
  // time if `nth` is 1. Does not step, and does not count instructions.
  absl::StatusOr<Killed> KillBlocked(int nth = 1);

 private:
  class Run;
  class Trace;

  const Body setup_;
  const Body region_;
  const Options options_;
  std::shared_ptr<const Trace> trace_;  // of the child that was counted
};

}  // namespace mp::testing

#endif  // MP_TESTING_STEP_KILLER_H_
