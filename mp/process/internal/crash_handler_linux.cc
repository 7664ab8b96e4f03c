#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/futex.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/crash_handler.h"
#include "mp/process/internal/crash_slot.h"
#include "mp/process/internal/crash_stack.h"
#include "mp/process/internal/exception_name.h"

namespace mp::internal {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE,
                            SIGABRT, SIGSYS, SIGTRAP};

// What the handler may take to find the names of functions. A process whose
// memory is in ruins must not hang in it.
constexpr unsigned kPatienceSeconds = 10;

// For the handler; without a use it takes no memory. absl::Symbolize() wants
// some tens of KiB.
constexpr size_t kStackBytes = 256 << 10;
alignas(16) char alternate_stack[kStackBytes];

// Of this process, once it is attached.
std::atomic<CrashSlot*> own_slot{nullptr};
std::atomic<pid_t> owner{0};
std::atomic<bool> has_failed{false};
// The first thread to crash, and of what.
std::atomic<pid_t> crashed_thread{0};
std::atomic<int> crash_signal{0};

std::terminate_handler next_terminate = nullptr;

// Returns nullptr in a process that somebody has forked from the owner.
CrashSlot* OwnSlot() { return owner == getpid() ? own_slot.load() : nullptr; }

int64_t MonotonicNanoseconds() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// Ends the process by the signal.
void Die(int signal) {
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, nullptr);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal);
  // Still here: this is PID 1 of its namespace. On return what has failed fails
  // again, and then the kernel makes no exception.
}

void OnLate(int) { Die(crash_signal); }

void StartWatchdog() {
  struct sigaction late = {};
  late.sa_handler = OnLate;
  late.sa_flags = SA_ONSTACK;
  sigaction(SIGALRM, &late, nullptr);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, SIGALRM);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  alarm(kPatienceSeconds);
}

// Waits until the first thread that crashed has ended the process.
void AwaitEnd() {
  for (unsigned i = 0; i < 2 * kPatienceSeconds * 100; ++i) {
    timespec pause = {0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
}

void OnCrash(int signal, siginfo_t* info, void* context) {
  CrashSlot* const slot = OwnSlot();
  if (slot == nullptr) return Die(signal);
  const auto thread = static_cast<pid_t>(syscall(SYS_gettid));
  pid_t first = 0;
  if (!crashed_thread.compare_exchange_strong(first, thread)) {
    // Either in this very handler, or in another thread's favour.
    if (first != thread) AwaitEnd();
    return Die(crash_signal);
  }
  crash_signal = signal;
  slot->ended_at.store(MonotonicNanoseconds(), std::memory_order_relaxed);
  slot->signal.store(static_cast<uint32_t>(signal), std::memory_order_release);
  StartWatchdog();
  WriteCrashStack(*slot, *info, context);
  Die(signal);
}

void InstallHandler(int signal) {
  struct sigaction before;
  if (sigaction(signal, nullptr, &before) != 0) return;
  if ((before.sa_flags & SA_SIGINFO) != 0 || before.sa_handler != SIG_DFL) {
    return;
  }
  struct sigaction action = {};
  action.sa_sigaction = OnCrash;
  // A second crash, inside the handler, is to get there too.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigfillset(&action.sa_mask);
  for (const int other : kSignals) sigdelset(&action.sa_mask, other);
  sigaction(signal, &action, nullptr);
}

void InstallAlternateStack() {
  stack_t before;
  if (sigaltstack(nullptr, &before) != 0) return;
  // The program's own, or a sanitizer's.
  if ((before.ss_flags & SS_DISABLE) == 0) return;
  stack_t own = {};
  own.ss_sp = alternate_stack;
  own.ss_size = sizeof(alternate_stack);
  sigaltstack(&own, nullptr);
}

void NoteException() {
  if (std::current_exception() == nullptr) {
    return NoteFailure("std::terminate() without an exception");
  }
  try {
    throw;
  } catch (const std::exception& e) {
    NoteFailure(absl::StrCat("uncaught ", ExceptionName(), ": ", e.what()));
  } catch (...) {
    NoteFailure(absl::StrCat("uncaught ", ExceptionName()));
  }
}

[[noreturn]] void OnTerminate() {
  if (OwnSlot() != nullptr) NoteException();
  next_terminate();
  std::abort();
}

void InstallTerminateHandler() {
  const std::terminate_handler before = std::get_terminate();
  if (before == OnTerminate) return;
  next_terminate = before;
  std::set_terminate(OnTerminate);
}

void OnExit(int code, void*) { NoteExitCode(code); }

}  // namespace

absl::Status AttachCrashSlot(CrashSlotTicket ticket) {
  void* const page =
      mmap(nullptr, kCrashSlotBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
           ticket.memory.get(), static_cast<off_t>(ticket.offset));
  if (page == MAP_FAILED) return ErrnoStatus(errno, "mmap(crash slot)");
  CrashSlot* const before = own_slot.exchange(static_cast<CrashSlot*>(page));
  // That of the process that this one was forked from.
  if (before != nullptr) munmap(before, kCrashSlotBytes);
  has_failed = false;
  crashed_thread = 0;
  owner = getpid();
  InstallCrashHandlers();
  return absl::OkStatus();
}

void AwaitStarter(pid_t starter) {
  CrashSlot* const slot = OwnSlot();
  if (slot == nullptr) return;
  while (slot->known.load() == 0 && getppid() == starter) {
    FutexWait(slot->known, 0, Deadline(absl::Milliseconds(50)));
  }
}

bool StarterLetsBegin(const Fd& starter) {
  CrashSlot* const slot = OwnSlot();
  if (slot == nullptr) return false;
  while (slot->known.load() == 0) {
    pollfd end = {starter.get(), POLLIN, 0};
    if (poll(&end, 1, 0) > 0) return false;
    FutexWait(slot->known, 0, Deadline(absl::Milliseconds(50)));
  }
  return slot->known.load() == static_cast<uint32_t>(getpid());
}

void InstallCrashHandlers() {
  static std::atomic<bool> installed{false};
  if (installed.exchange(true)) return;
  NoteExitCodeAtExit();
  InstallAlternateStack();
  for (const int signal : kSignals) InstallHandler(signal);
  InstallTerminateHandler();
}

void NoteExitCode(int code) {
  CrashSlot* const slot = OwnSlot();
  if (slot == nullptr) return;
  slot->ended_at.store(MonotonicNanoseconds(), std::memory_order_relaxed);
  slot->exit_note.store(CrashSlot::kExited | (code & 0xff),
                        std::memory_order_release);
}

void NoteExitCodeAtExit() {
  static std::atomic<bool> registered{false};
  if (!registered.exchange(true)) on_exit(OnExit, nullptr);
}

void NoteFailure(absl::string_view message) {
  CrashSlot* const slot = OwnSlot();
  if (slot == nullptr || has_failed.exchange(true)) return;
  if (slot->message.Append(message)) return;
  constexpr absl::string_view kCut = "...";
  constexpr size_t kRoom = sizeof(slot->message.bytes) - kCut.size();
  slot->message.Append(absl::StrCat(message.substr(0, kRoom), kCut));
}

}  // namespace mp::internal
