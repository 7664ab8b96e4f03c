#ifndef MP_TESTING_CHILD_H_
#define MP_TESTING_CHILD_H_

#include <sys/types.h>

#include <optional>
#include <ostream>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"

namespace mp::testing {

// How a process ended: its exit code, or -N if signal N killed it.
struct ExitStatus {
  int code = 0;

  friend bool operator==(ExitStatus, ExitStatus) = default;
};

// Writes "exited with 3" or "was killed by signal 9 (Killed)".
std::ostream& operator<<(std::ostream& out, ExitStatus status);

MATCHER_P(ExitedWith, code,
          negation ? "did not exit with " + ::testing::PrintToString(code)
                   : "exited with " + ::testing::PrintToString(code)) {
  return code >= 0 && arg == ExitStatus{code};
}

MATCHER_P(WasKilledBy, signal,
          negation
              ? "was not killed by signal " + ::testing::PrintToString(signal)
              : "was killed by signal " + ::testing::PrintToString(signal)) {
  return signal > 0 && arg == ExitStatus{-signal};
}

// A real child process of the test.
//
// Example:
//   Child child = RunInChild([&]() -> absl::Status {
//     MP_RETURN_IF_ERROR(queue.Put("kept", absl::Seconds(5)));
//     raise(SIGKILL);
//     return absl::OkStatus();
//   });
//   EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
//
// Owns:    the process. The destructor kills it and waits for it, so that a
//          failed test leaves none.
// Threads: not safe.
// Fork:    a child that the test forks elsewhere must not use or destroy it.
class Child {
 public:
  // Takes over a child that nobody has waited for.
  explicit Child(pid_t pid) : pid_(pid) {}

  Child(Child&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), status_(other.status_) {}
  Child& operator=(Child&& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(status_, other.status_);
    return *this;
  }
  ~Child();

  pid_t pid() const { return pid_; }

  // Sends a signal, unless Wait() has returned: the pid may be a stranger's.
  void Kill(int signal);

  // Waits for the end of the child and reaps it. Later calls repeat the result.
  ExitStatus Wait();

 private:
  pid_t pid_;
  std::optional<ExitStatus> status_;
};

// Runs `body` in a forked child, which exits with 0 if `body` returns OK and no
// EXPECT failed in it, and with 1 otherwise, having written why to stderr.
// Nothing else of the test runs in the child: no destructor, no atexit.
//
// Call it before the test starts threads: a lock that one of them holds, inside
// malloc() for example, would stay locked in the child for ever.
Child RunInChild(absl::FunctionRef<absl::Status()> body);

}  // namespace mp::testing

#endif  // MP_TESTING_CHILD_H_
