#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "mp/process/internal/vfork_child.h"

// clone(2) by its other name in the C library. Thread Sanitizer puts a function
// of its own in the place of clone(), which takes every child for one with
// memory of its own, and here would from then on overlook what the caller
// synchronises.
extern "C" int __clone(  // NOLINT(bugprone-reserved-identifier)
    int (*function)(void*), void* stack, int flags, void* argument, ...);

namespace mp::internal {
namespace {

// What the kernel calls NSIG, and the size of its signal sets.
constexpr int kSignals = 64;
constexpr size_t kSignalSetBytes = 8;

// Begins with the handler in the kernel's struct sigaction, which is no larger;
// all of it zero is the default.
struct alignas(8) KernelAction {
  unsigned char bytes[64];
};

// The kernel's struct linux_dirent64 up to the name.
constexpr size_t kNameAt = 19;
constexpr size_t kLengthAt = 16;

// How far to go where nothing says what is open.
constexpr uint64_t kMostDescriptors = 1 << 20;

MP_IN_VFORKED_CHILD bool Keeps(const int* keep, size_t count, int fd) {
  for (size_t i = 0; i < count; ++i) {
    if (keep[i] == fd) return true;
  }
  return false;
}

MP_IN_VFORKED_CHILD void CloseUnlessKept(const int* keep, size_t count,
                                         int fd) {
  if (fd > STDERR_FILENO && !Keeps(keep, count, fd)) syscall(SYS_close, fd);
}

// Returns the number that is a name in /proc/self/fd, or -1.
MP_IN_VFORKED_CHILD int ToNumber(const char* name) {
  int number = 0;
  for (; *name != '\0'; ++name) {
    if (*name < '0' || *name > '9') return -1;
    number = number * 10 + (*name - '0');
  }
  return number;
}

// Closes what /proc lists. Returns false where it does not list anything.
MP_IN_VFORKED_CHILD bool CloseListed(const int* keep, size_t count) {
  const int listing =
      static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/proc/self/fd",
                               O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
  if (listing < 0) return false;
  alignas(8) char entries[2048];
  long bytes;
  while ((bytes = syscall(SYS_getdents64, listing, entries, sizeof(entries))) >
         0) {
    for (long at = 0; at < bytes;) {
      const int fd = ToNumber(entries + at + kNameAt);
      if (fd != listing) CloseUnlessKept(keep, count, fd);
      uint16_t length;
      __builtin_memcpy(&length, entries + at + kLengthAt, sizeof(length));
      at += length;
    }
  }
  CloseUnlessKept(keep, count, listing);
  return bytes == 0;
}

// Closes whatever might be open, one by one.
MP_IN_VFORKED_CHILD void CloseEach(const int* keep, size_t count) {
  uint64_t limits[2] = {kMostDescriptors, kMostDescriptors};
  syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, limits);
  const uint64_t end =
      limits[1] < kMostDescriptors ? limits[1] : kMostDescriptors;
  for (uint64_t fd = STDERR_FILENO + 1; fd < end; ++fd) {
    CloseUnlessKept(keep, count, static_cast<int>(fd));
  }
}

// Closes the gaps between those that are kept. Returns false where the system
// call is missing (before Linux 5.9) or forbidden.
MP_IN_VFORKED_CHILD bool CloseRanges(const int* keep, size_t count) {
  unsigned first = STDERR_FILENO + 1;
  for (size_t i = 0; i < count; ++i) {
    const unsigned kept = static_cast<unsigned>(keep[i]);
    if (kept > first && syscall(SYS_close_range, first, kept - 1, 0) != 0) {
      return false;
    }
    first = kept + 1;
  }
  return syscall(SYS_close_range, first, ~0U, 0) == 0;
}

}  // namespace

MP_IN_VFORKED_CHILD pid_t RunInVforkedChild(int (*body)(void*), void* argument,
                                            int& pidfd) {
  alignas(16) char stack[32 << 10];
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid =
      __clone(body, stack + sizeof(stack),
              CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, argument, &pidfd);
  const int saved_errno = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = saved_errno;
  return pid;
}

MP_IN_VFORKED_CHILD void ResetSignal(int signal) {
  KernelAction standard;
  for (unsigned char& byte : standard.bytes) byte = 0;
  syscall(SYS_rt_sigaction, signal, &standard, nullptr, kSignalSetBytes);
}

MP_IN_VFORKED_CHILD void ResetHandlers() {
  KernelAction action;
  for (int signal = 1; signal <= kSignals; ++signal) {
    syscall(SYS_rt_sigaction, signal, nullptr, &action, kSignalSetBytes);
    void (*handler)(int);
    __builtin_memcpy(&handler, &action, sizeof(handler));
    if (handler != SIG_DFL && handler != SIG_IGN) ResetSignal(signal);
  }
}

MP_IN_VFORKED_CHILD void UnblockAllSignals() {
  const uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, kSignalSetBytes);
}

MP_IN_VFORKED_CHILD void CloseAllBut(const int* keep, size_t count) {
  if (CloseRanges(keep, count) || CloseListed(keep, count)) return;
  CloseEach(keep, count);
}

}  // namespace mp::internal
