#include "mp/testing/tracee.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"

namespace mp::testing {
namespace {

// What a child exits with that may not be traced.
constexpr int kMayNotBeTraced = 77;

// With PTRACE_O_TRACESYSGOOD, how the kernel marks the stops that are no
// signals.
constexpr int kSystemCallBit = 0x80;

absl::Status PtraceStatus(const char* request) {
  if (errno == EPERM || errno == ENOSYS) {
    return absl::PermissionDeniedError(
        absl::StrCat(request, ": ptrace(2) is not allowed here"));
  }
  return ErrnoStatus(errno, request);
}

// A trap in the code of a traced process, for as long as there is this.
//
// Source: man 2 ptrace, PTRACE_POKETEXT: as it has the page to itself, no other
// process sees it.
class Trap {
 public:
  static absl::StatusOr<Trap> Set(pid_t pid, uint64_t address) {
    const uint64_t word_at = address - address % sizeof(long);
    errno = 0;
    const long code = ptrace(PTRACE_PEEKTEXT, pid, word_at, nullptr);
    if (errno != 0) return absl::InternalError("PTRACE_PEEKTEXT: no code");
    const int shift = static_cast<int>(address - word_at) * 8;
    constexpr uint64_t kInt3 = 0xcc;
    const uint64_t trap =
        (static_cast<uint64_t>(code) & ~(uint64_t{0xff} << shift)) |
        kInt3 << shift;
    if (ptrace(PTRACE_POKETEXT, pid, word_at, trap) != 0) {
      return absl::InternalError("PTRACE_POKETEXT: not this code");
    }
    return Trap(pid, word_at, code);
  }

  Trap(Trap&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)),
        word_at_(other.word_at_),
        code_(other.code_) {}
  Trap& operator=(Trap&&) = delete;

  // It may have been killed meanwhile, so that there is nothing to restore.
  ~Trap() {
    if (pid_ != 0) ptrace(PTRACE_POKETEXT, pid_, word_at_, code_);
  }

 private:
  Trap(pid_t pid, uint64_t word_at, long code)
      : pid_(pid), word_at_(word_at), code_(code) {}

  pid_t pid_;
  uint64_t word_at_;
  long code_;
};

#if defined(__x86_64__)
constexpr size_t kNextInstruction = offsetof(struct user, regs.rip);
#else
constexpr size_t kNextInstruction = 0;
#endif

}  // namespace

void Tracee::Mark() {
#if defined(__x86_64__)
  asm volatile("int3" ::: "memory");
#endif
}

absl::StatusOr<Tracee> Tracee::Start(std::function<absl::Status()> body,
                                     absl::Duration patience) {
#if !defined(__x86_64__)
  return absl::UnimplementedError("Tracee::Start: this is not x86-64");
#endif
  Tracee tracee(RunInChild([&] {
                  if (ptrace(PTRACE_TRACEME) != 0) _exit(kMayNotBeTraced);
                  raise(SIGSTOP);
                  return body();
                }),
                patience);
  MP_RETURN_IF_ERROR(tracee.AwaitStop([] {}));
  if (tracee.has_ended_) {
    return absl::PermissionDeniedError(
        "PTRACE_TRACEME: ptrace(2) is not allowed here");
  }
  if (ptrace(PTRACE_SETOPTIONS, tracee.child_.pid(), nullptr,
             PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) != 0) {
    return PtraceStatus("PTRACE_SETOPTIONS");
  }
  return tracee;
}

absl::StatusOr<Tracee::Stop> Tracee::Go(
    How how, const std::function<void()>& on_asleep) {
  bool was_told = false;
  const auto tell_once = [&] {
    if (!std::exchange(was_told, true)) on_asleep();
  };
  do {
    MP_RETURN_IF_ERROR(Resume(how));
    MP_RETURN_IF_ERROR(AwaitStop(tell_once));
    if (has_ended_) return Stop::kEnded;
    MP_ASSIGN_OR_RETURN(const bool is_at_mark, IsAtMark());
    if (is_at_mark) return Stop::kMark;
    if (signal_ == (SIGTRAP | kSystemCallBit)) return Stop::kStepped;
    owes_ = signal_ != SIGTRAP;
  } while (owes_ || how == kToMark);
  return Stop::kStepped;
}

absl::StatusOr<uint64_t> Tracee::Address() const {
  errno = 0;
  const long address =
      ptrace(PTRACE_PEEKUSER, child_.pid(), kNextInstruction, nullptr);
  if (errno != 0) return PtraceStatus("PTRACE_PEEKUSER");
  return static_cast<uint64_t>(address);
}

absl::StatusOr<Tracee::Stop> Tracee::GoTo(
    uint64_t address, const std::function<void()>& on_asleep) {
  MP_ASSIGN_OR_RETURN(const uint64_t here, Address());
  if (here == address) {
    MP_ASSIGN_OR_RETURN(const Stop stop, Go(kOneInstruction, on_asleep));
    if (stop != Stop::kStepped) return stop;
    MP_ASSIGN_OR_RETURN(const uint64_t next, Address());
    if (next == address) return Stop::kStepped;  // one that repeats itself
  }
  return GoToTrap(address, on_asleep);
}

absl::StatusOr<Tracee::Stop> Tracee::GoToTrap(
    uint64_t address, const std::function<void()>& on_asleep) {
  MP_ASSIGN_OR_RETURN(const Trap trap, Trap::Set(child_.pid(), address));
  Stop stop = Stop::kStepped;
  while (stop == Stop::kStepped) {
    MP_ASSIGN_OR_RETURN(stop, Go(kToSystemCall, on_asleep));
  }
  if (stop == Stop::kEnded) return stop;
  MP_ASSIGN_OR_RETURN(const uint64_t next, Address());
  if (next != address + 1) return stop;  // Mark()
  if (ptrace(PTRACE_POKEUSER, child_.pid(), kNextInstruction, address) != 0) {
    return PtraceStatus("PTRACE_POKEUSER");
  }
  return Stop::kStepped;
}

absl::Status Tracee::Resume(How how) {
  const long signal = std::exchange(owes_, false) ? signal_ : 0;
  long done = -1;
  switch (how) {
    case kOneInstruction:
      done = ptrace(PTRACE_SINGLESTEP, child_.pid(), nullptr, signal);
      break;
    case kToSystemCall:
      done = ptrace(PTRACE_SYSCALL, child_.pid(), nullptr, signal);
      break;
    case kToMark:
      done = ptrace(PTRACE_CONT, child_.pid(), nullptr, signal);
      break;
  }
  // Somebody else killed it. AwaitStop() finds that.
  if (done != 0 && errno != ESRCH) return PtraceStatus("ptrace");
  return absl::OkStatus();
}

// A step takes microseconds, so this looks often at first. Later it sleeps
// between looks: what takes so long has to wait for somebody.
absl::Status Tracee::AwaitStop(const std::function<void()>& on_asleep) {
  // On a busy machine a single look takes milliseconds, and one that sleeps for
  // 50 of them at a time is still to be seen asleep.
  const Deadline quick(absl::Microseconds(200));
  const Deadline deadline(patience_);
  int seen_asleep = 0;
  while (true) {
    MP_ASSIGN_OR_RETURN(const bool has_stopped, HasStopped());
    if (has_stopped) return absl::OkStatus();
    if (!quick.Expired()) {
      sched_yield();
      continue;
    }
    // Twice, as it may only have waited for a page.
    seen_asleep = IsAsleep() ? seen_asleep + 1 : 0;
    if (seen_asleep == 2) on_asleep();
    if (deadline.Expired()) break;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return absl::DeadlineExceededError(
      absl::StrCat("Tracee::Go: pid ", child_.pid(), " made no progress in ",
                   absl::FormatDuration(patience_),
                   seen_asleep > 0 ? ": it sleeps in a system call" : ""));
}

absl::StatusOr<bool> Tracee::HasStopped() {
  siginfo_t info = {};
  // Leaves an end to child_.Wait().
  if (waitid(P_PID, child_.pid(), &info,
             WEXITED | WSTOPPED | WNOHANG | WNOWAIT) != 0) {
    if (errno == EINTR) return false;
    return ErrnoStatus(errno, "waitid");
  }
  if (info.si_pid == 0) return false;
  has_ended_ = info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED;
  signal_ = info.si_status;
  return true;
}

// Source: man 5 proc, /proc/PID/stat: the state follows the name, which is in
// parentheses and may hold some itself. A stopped one is "t", not "S".
bool Tracee::IsAsleep() const {
  std::ifstream file(absl::StrCat("/proc/", child_.pid(), "/stat"));
  const std::string stat((std::istreambuf_iterator<char>(file)), {});
  const size_t name_end = stat.rfind(')');
  return name_end != std::string::npos && stat.substr(name_end, 3) == ") S";
}

// Tells the trap of Mark() from that of a step.
absl::StatusOr<bool> Tracee::IsAtMark() const {
  if (signal_ != SIGTRAP) return false;
  siginfo_t info = {};
  if (ptrace(PTRACE_GETSIGINFO, child_.pid(), nullptr, &info) != 0) {
    if (errno == ESRCH) return false;  // It has just been killed.
    return PtraceStatus("PTRACE_GETSIGINFO");
  }
  return info.si_code == SI_KERNEL;
}

}  // namespace mp::testing
