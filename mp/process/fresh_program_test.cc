// What the C library keeps about threads and processes is as right in a child
// of every start method as in a program that was just executed: tids, the kinds
// of mutexes that go by them, and signals to oneself.

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::testing::IsOk;
using ::testing::Optional;

// Unlocks what is not the caller's to unlock. Thread Sanitizer takes such a
// call for a mistake.
int UnlockWrongly(pthread_mutex_t* mutex) {
  return kThreadSanitizer ? EPERM : pthread_mutex_unlock(mutex);
}

// The checks run in a child, so they are functions that return what is wrong.

absl::Status Expect(bool ok, const std::string& what) {
  return ok ? absl::OkStatus() : absl::InternalError(what);
}

absl::Status ExpectResult(const std::string& call, int result, int expected) {
  return Expect(result == expected,
                absl::StrCat(call, " = ", result, ", not ", expected));
}

// Whether the C library knows the calling thread's tid: the clock's id holds it
// (kernel include/linux/posix-timers_types.h).
absl::Status CheckTid() {
  clockid_t clock;
  MP_RETURN_IF_ERROR(ExpectResult("pthread_getcpuclockid",
                                  pthread_getcpuclockid(pthread_self(), &clock),
                                  0));
  MP_RETURN_IF_ERROR(ExpectResult("the clock's thread", ~(clock >> 3),
                                  static_cast<int>(syscall(SYS_gettid))));
  return ExpectResult("gettid()", gettid(),
                      static_cast<int>(syscall(SYS_gettid)));
}

absl::Status FirstThreadHasThePid() {
  MP_RETURN_IF_ERROR(CheckTid());
  return ExpectResult("gettid()", gettid(), getpid());
}

// A mutex that any process may map.
class SharedMutex {
 public:
  explicit SharedMutex(const Fd& memory)
      : mutex_(static_cast<pthread_mutex_t*>(
            mmap(nullptr, sizeof(pthread_mutex_t), PROT_READ | PROT_WRITE,
                 MAP_SHARED, memory.get(), 0))) {
    if (mutex_ == MAP_FAILED) std::abort();
  }
  // The mapping stays: a dying thread's list of mutexes leads there.

  static Fd Create() {
    Fd memory(memfd_create("mutex", MFD_CLOEXEC));
    if (ftruncate(memory.get(), sizeof(pthread_mutex_t)) != 0) std::abort();
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(SharedMutex(memory).get(), &attributes);
    return memory;
  }

  pthread_mutex_t* get() const { return mutex_; }

 private:
  pthread_mutex_t* mutex_;
};

absl::Status ErrorCheckingMutexKnowsItsOwner() {
  const SharedMutex shared(SharedMutex::Create());
  pthread_mutex_t* const mutex = shared.get();
  MP_RETURN_IF_ERROR(
      ExpectResult("unlock of a free one", UnlockWrongly(mutex), EPERM));
  MP_RETURN_IF_ERROR(ExpectResult("lock", pthread_mutex_lock(mutex), 0));
  MP_RETURN_IF_ERROR(
      ExpectResult("second lock", pthread_mutex_lock(mutex), EDEADLK));
  int of_other = -1;
  int try_of_other = -1;
  std::thread([&] {
    of_other = UnlockWrongly(mutex);
    try_of_other = pthread_mutex_trylock(mutex);
  }).join();
  MP_RETURN_IF_ERROR(ExpectResult("unlock by another", of_other, EPERM));
  MP_RETURN_IF_ERROR(ExpectResult("trylock by another", try_of_other, EBUSY));
  return ExpectResult("unlock", pthread_mutex_unlock(mutex), 0);
}

absl::Status RecursiveMutexKnowsItsOwner() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_t mutex;
  pthread_mutex_init(&mutex, &attributes);
  MP_RETURN_IF_ERROR(ExpectResult("lock", pthread_mutex_lock(&mutex), 0));
  MP_RETURN_IF_ERROR(
      ExpectResult("second lock", pthread_mutex_trylock(&mutex), 0));
  MP_RETURN_IF_ERROR(ExpectResult("unlock", pthread_mutex_unlock(&mutex), 0));
  return ExpectResult("second unlock", pthread_mutex_unlock(&mutex), 0);
}

// Locks it, and takes over from an owner that has died.
absl::Status TakeOver(pthread_mutex_t* mutex) {
  const Deadline deadline(absl::Seconds(20));
  int locked = pthread_mutex_trylock(mutex);
  while (locked == EBUSY && !deadline.Expired()) {
    usleep(1000);
    locked = pthread_mutex_trylock(mutex);
  }
  MP_RETURN_IF_ERROR(ExpectResult("lock", locked, EOWNERDEAD));
  MP_RETURN_IF_ERROR(
      ExpectResult("consistent", pthread_mutex_consistent(mutex), 0));
  return ExpectResult("unlock", pthread_mutex_unlock(mutex), 0);
}

absl::Status RobustMutexOfAThreadThatEnded() {
  const SharedMutex shared(SharedMutex::Create());
  std::thread([&] { pthread_mutex_lock(shared.get()); }).join();
  return TakeOver(shared.get());
}

absl::Status ThreadsHaveTidsOfTheirOwn() {
  constexpr int kThreads = 8;
  ForkSafeMutex mutex;
  std::set<pid_t> tids = {gettid()};
  absl::Status wrong;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const absl::Status status = CheckTid();
      ForkSafeLock lock(mutex);
      wrong.Update(status);
      tids.insert(gettid());
    });
  }
  for (std::thread& thread : threads) thread.join();
  MP_RETURN_IF_ERROR(wrong);
  return Expect(tids.size() <= kThreads + 1 && tids.size() > 1, "tids");
}

// The C library has each thread do it, by a signal to its tid, and waits.
absl::Status ThreadsTakeNewUidsTogether() {
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) usleep(100);
  });
  const int set = setresuid(getuid(), geteuid(), static_cast<uid_t>(-1));
  done = true;
  other.join();
  return ExpectResult("setresuid", set, 0);
}

volatile sig_atomic_t signalled_tid = 0;

absl::Status RaiseReachesTheCaller() {
  signalled_tid = 0;
  auto* const before =
      signal(SIGUSR1, [](int) { signalled_tid = static_cast<int>(gettid()); });
  const int raised = raise(SIGUSR1);
  const int killed = pthread_kill(pthread_self(), 0);
  signal(SIGUSR1, before);
  MP_RETURN_IF_ERROR(ExpectResult("raise", raised, 0));
  MP_RETURN_IF_ERROR(ExpectResult("pthread_kill", killed, 0));
  return ExpectResult("the signalled thread", signalled_tid, gettid());
}

absl::Status ForksOfItsOwnWork() {
  const pid_t pid = fork();
  if (pid == 0) _exit(FirstThreadHasThePid().ok() ? 0 : 1);
  int status = -1;
  MP_RETURN_IF_ERROR(ExpectResult("waitpid", waitpid(pid, &status, 0), pid));
  return ExpectResult("the child's status", status, 0);
}

struct NamedCheck {
  const char* name;
  absl::Status (*function)();
  bool needs_process = false;
};

constexpr NamedCheck kChecks[] = {
    {"FirstThreadHasThePid", FirstThreadHasThePid, true},
    {"Tid", CheckTid},
    {"ErrorCheckingMutexKnowsItsOwner", ErrorCheckingMutexKnowsItsOwner},
    {"RecursiveMutexKnowsItsOwner", RecursiveMutexKnowsItsOwner},
    {"RobustMutexOfAThreadThatEnded", RobustMutexOfAThreadThatEnded},
    {"ThreadsHaveTidsOfTheirOwn", ThreadsHaveTidsOfTheirOwn},
    {"ThreadsTakeNewUidsTogether", ThreadsTakeNewUidsTogether},
    {"RaiseReachesTheCaller", RaiseReachesTheCaller},
    {"ForksOfItsOwnWork", ForksOfItsOwnWork, true},
};

class FreshProgramTest : public internal::StartMethodTest {
 protected:
  template <typename... Args>
  std::optional<int> Run(Args&&... args) {
    Process process({.context = GetParam()}, std::forward<Args>(args)...);
    EXPECT_THAT(process.Start(), IsOk());
    EXPECT_THAT(process.Join(kLong), IsOk());
    return process.exitcode();
  }
};

MP_INSTANTIATE_TEST_SUITE(FreshProgramTest, AllStartMethods);

class FreshProcessTest : public FreshProgramTest {};

MP_INSTANTIATE_TEST_SUITE(FreshProcessTest, RealStartMethods);

// What a child is compared with.
TEST(ThisProgramTest, PassesAllChecks) {
  for (const NamedCheck& check : kChecks) {
    EXPECT_THAT(check.function(), IsOk()) << check.name;
  }
}

// A status that is not OK goes to stderr and makes the exit code 1.
TEST_P(FreshProgramTest, ChildPassesAllChecks) {
  for (const NamedCheck& check : kChecks) {
    if (check.needs_process && GetParam() == StartMethod::kThread) continue;
    EXPECT_THAT(Run(check.function), Optional(0)) << check.name;
  }
}

TEST_P(FreshProgramTest, ChildOfAThreadPassesAllChecks) {
  for (const NamedCheck& check : kChecks) {
    // Thread Sanitizer keeps handlers from running in such a child.
    if (kThreadSanitizer && GetParam() == StartMethod::kFork &&
        check.function == RaiseReachesTheCaller) {
      std::cout << "SKIPPED: " << check.name << std::endl;
      continue;
    }
    if (check.needs_process && GetParam() == StartMethod::kThread) continue;
    std::thread([&] {
      EXPECT_THAT(Run(check.function), Optional(0)) << check.name;
    }).join();
  }
}

void LockAndDie(const Fd& memory, bool by_signal) {
  const SharedMutex mutex(memory);
  if (pthread_mutex_lock(mutex.get()) != 0) Exit(1);
  if (by_signal) kill(getpid(), SIGKILL);
  Exit(3);
}

TEST_P(FreshProcessTest, DeathOfARobustMutexsOwnerIsSeenHere) {
  const Fd memory = SharedMutex::Create();
  const SharedMutex mutex(memory);
  for (const bool by_signal : {false, true}) {
    EXPECT_THAT(Run(LockAndDie, *memory.Dup(), by_signal),
                Optional(by_signal ? -SIGKILL : 3));
    EXPECT_THAT(TakeOver(mutex.get()), IsOk());
  }
}

TEST_P(FreshProcessTest, DeathOfARobustMutexsOwnerIsSeenByASibling) {
  const Fd memory = SharedMutex::Create();
  EXPECT_THAT(Run(LockAndDie, *memory.Dup(), true), Optional(-SIGKILL));
  EXPECT_THAT(
      Run([](const Fd& memory) { return TakeOver(SharedMutex(memory).get()); },
          *memory.Dup()),
      Optional(0));
}

// The list of them is not the child's.
TEST_P(FreshProcessTest, DeathOfAChildLeavesItsParentsMutexLocked) {
  const Fd memory = SharedMutex::Create();
  const SharedMutex mutex(memory);
  ASSERT_EQ(pthread_mutex_lock(mutex.get()), 0);
  EXPECT_THAT(Run(
                  [](const Fd& memory) {
                    const SharedMutex mutex(memory);
                    MP_RETURN_IF_ERROR(ExpectResult(
                        "trylock", pthread_mutex_trylock(mutex.get()), EBUSY));
                    return ExpectResult("unlock", UnlockWrongly(mutex.get()),
                                        EPERM);
                  },
                  *memory.Dup()),
              Optional(0));
  EXPECT_THAT(Run([] { kill(getpid(), SIGKILL); }), Optional(-SIGKILL));
  EXPECT_EQ(pthread_mutex_lock(mutex.get()), EDEADLK);
  EXPECT_EQ(pthread_mutex_unlock(mutex.get()), 0);
}

TEST_P(FreshProcessTest, AbortEndsItBySigabrt) {
  EXPECT_THAT(Run([] { std::abort(); }), Optional(-SIGABRT));
}

}  // namespace
}  // namespace mp
