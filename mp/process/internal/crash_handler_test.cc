#include "mp/process/internal/crash_handler.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/crash_slot.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using ::mp::testing::Child;
using ::mp::testing::IsOk;
using ::mp::testing::RunInChild;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Optional;
using ::testing::StartsWith;

// With which Address and Thread Sanitizer exit.
const ::testing::Matcher<int> kSanitizersCode = AnyOf(1, 66);

// A sanitizer has its own handlers for some.
bool IsOurs(int signal) {
  struct sigaction action;
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_DFL;
}

struct Crash {
  int code;
  CrashNote note;
};

// Runs `body` in a child that has a crash slot.
Crash RunCrash(absl::FunctionRef<void()> body) {
  CrashSlotLease lease = *CrashArena::Get().Take();
  CrashSlotTicket ticket = *lease.MakeTicket();
  Child child = RunInChild([&]() -> absl::Status {
    CrashArena::Get().Forget();
    MP_RETURN_IF_ERROR(AttachCrashSlot(std::move(ticket)));
    body();
    return absl::OkStatus();
  });
  const int code = child.Wait().code;
  return {code, ReadCrashSlot(*lease.slot())};
}

__attribute__((noinline)) void CrashHere(int signal) {
  raise(signal);
  asm volatile("");  // so that this is no tail call
}

__attribute__((noinline)) void CallNothing() {
  void (*volatile nothing)() = nullptr;
  nothing();
  asm volatile("");  // so that this is no tail call
}

__attribute__((noinline, no_sanitize("address", "undefined", "thread"))) void
WriteTo(uintptr_t address) {
  *reinterpret_cast<volatile int*>(address) = 1;
}

__attribute__((noinline)) int Overflow(int depth) {
  volatile char frame[4096];
  frame[depth % 4096] = 1;
  return depth == INT32_MAX ? 0 : Overflow(depth + 1) + frame[0];
}

class CrashHandlerTest : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(CrashSignals, CrashHandlerTest,
                         ::testing::Values(SIGSEGV, SIGBUS, SIGILL, SIGFPE,
                                           SIGABRT, SIGSYS, SIGTRAP),
                         [](const auto& info) {
                           return std::string(sigabbrev_np(info.param));
                         });

TEST_P(CrashHandlerTest, SaysWhereAndDiesOfTheSignal) {
  const int signal = GetParam();
  const Crash crash = RunCrash([&] { CrashHere(signal); });
  if (IsOurs(signal)) {
    EXPECT_EQ(crash.code, -signal);
    EXPECT_THAT(crash.note.exit_code, Optional(-signal));
    EXPECT_THAT(crash.note.stack, StartsWith("in the main thread\n#0 "));
    EXPECT_THAT(crash.note.stack, HasSubstr("CrashHere() ["));
    EXPECT_THAT(crash.note.stack, HasSubstr("main ["));
    EXPECT_TRUE(crash.note.ended_at.has_value());
  } else {
    EXPECT_THAT(crash.code, kSanitizersCode);
    EXPECT_EQ(crash.note.stack, "");
  }
}

TEST_P(CrashHandlerTest, LeavesAHandlerOfTheProgramsAlone) {
  const int signal = GetParam();
  const Crash crash = RunCrash([&] {
    ::signal(signal, [](int) { _exit(77); });
    CrashSlotLease lease = *CrashArena::Get().Take();
    MP_CHECK_OK(AttachCrashSlot(*lease.MakeTicket()));
    raise(signal);
  });
  EXPECT_EQ(crash.code, 77);
}

TEST_P(CrashHandlerTest, LeavesAnIgnoredSignalIgnored) {
  const int signal = GetParam();
  CrashSlotLease lease = *CrashArena::Get().Take();
  Child child = RunInChild([&]() -> absl::Status {
    ::signal(signal, SIG_IGN);
    MP_RETURN_IF_ERROR(AttachCrashSlot(*lease.MakeTicket()));
    raise(signal);
    return absl::OkStatus();
  });
  EXPECT_EQ(child.Wait().code, 0);
}

TEST_P(CrashHandlerTest, ForkedBySomebodyElseItWritesNothing) {
  const int signal = GetParam();
  const Crash crash = RunCrash([&] {
    const pid_t pid = fork();
    if (pid == 0) CrashHere(signal);
    int status;
    waitpid(pid, &status, 0);
    _exit(WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status));
  });
  if (IsOurs(signal)) {
    EXPECT_EQ(crash.code, 100 + signal);
  } else {
    EXPECT_THAT(crash.code, kSanitizersCode);
  }
  EXPECT_EQ(crash.note.exit_code, std::nullopt);
  EXPECT_EQ(crash.note.stack, "");
}

// Those that follow are about SIGSEGV.
class CrashHandlerSegvTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!IsOurs(SIGSEGV)) GTEST_SKIP() << "SIGSEGV is the sanitizer's";
  }
};

TEST_F(CrashHandlerSegvTest, SaysTheAddress) {
  const Crash crash = RunCrash([] { WriteTo(0x18); });
  EXPECT_EQ(crash.code, -SIGSEGV);
  EXPECT_THAT(crash.note.stack,
              StartsWith("at address 0x18, in the main thread\n#0 "));
  EXPECT_THAT(crash.note.stack, HasSubstr("WriteTo("));
}

TEST_F(CrashHandlerSegvTest, NullCallHasACaller) {
  const Crash crash = RunCrash(CallNothing);
  EXPECT_EQ(crash.code, -SIGSEGV);
  EXPECT_THAT(crash.note.stack,
              StartsWith("at address 0x0, in the main thread\n#0 ? [0x0]\n#1"));
  EXPECT_THAT(crash.note.stack,
              AllOf(HasSubstr("CallNothing() ["), HasSubstr("main [")));
}

TEST_F(CrashHandlerSegvTest, StackOverflowIsSeenByTheMainThread) {
  const Crash crash = RunCrash([] { Overflow(0); });
  EXPECT_EQ(crash.code, -SIGSEGV);
  EXPECT_THAT(crash.note.stack, HasSubstr("Overflow() ["));
  EXPECT_THAT(crash.note.stack, Not(HasSubstr("main [")));
  // Whole lines only.
  EXPECT_EQ(crash.note.stack.back(), ']');
}

TEST_F(CrashHandlerSegvTest, StackOverflowElsewhereStillDiesOfTheSignal) {
  const Crash crash = RunCrash([] { std::thread([] { Overflow(0); }).join(); });
  EXPECT_EQ(crash.code, -SIGSEGV);
  EXPECT_EQ(crash.note.stack, "");
}

TEST_F(CrashHandlerSegvTest, SaysWhichThread) {
  const Crash crash = RunCrash([] {
    std::thread([] {
      pthread_setname_np(pthread_self(), "reader");
      WriteTo(0);
    }).join();
  });
  EXPECT_EQ(crash.code, -SIGSEGV);
  EXPECT_THAT(crash.note.stack, HasSubstr("in thread "));
  EXPECT_THAT(crash.note.stack, HasSubstr(" \"reader\"\n#0 "));
  EXPECT_THAT(crash.note.stack, HasSubstr("WriteTo("));
}

// Crashes in many threads at once.
void CrashEverywhere() {
  static std::atomic<int> ready{0};
  constexpr int kThreads = 8;
  for (int i = 0; i < kThreads; ++i) {
    std::thread([] {
      ++ready;
      while (ready < kThreads) sched_yield();
      WriteTo(0);
    }).detach();
  }
  while (true) pause();
}

TEST_F(CrashHandlerSegvTest, OfManyThreadsTheFirstIsTold) {
  for (int i = 0; i < 10; ++i) {
    const Crash crash = RunCrash(CrashEverywhere);
    EXPECT_EQ(crash.code, -SIGSEGV);
    const std::string& stack = crash.note.stack;
    // To the end, as the others let it finish.
    EXPECT_THAT(stack, AllOf(HasSubstr("WriteTo("), HasSubstr("::_M_run() [")));
    EXPECT_EQ(stack.find("at address"), stack.rfind("at address"));
  }
}

// Takes the page away that the handler is to write to.
void UnmapSlots() {
  FILE* const maps = fopen("/proc/self/maps", "re");
  char line[512];
  while (fgets(line, sizeof(line), maps) != nullptr) {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    if (strstr(line, "mp-crash-slots") == nullptr ||
        sscanf(line, "%lx-%lx", &begin, &end) != 2) {
      continue;
    }
    munmap(reinterpret_cast<void*>(begin), end - begin);
  }
  fclose(maps);
}

TEST_F(CrashHandlerSegvTest, CrashInTheHandlerKeepsTheFirstSignal) {
  const Crash crash = RunCrash([] {
    UnmapSlots();
    abort();
  });
  EXPECT_EQ(crash.code, -SIGABRT);
  EXPECT_EQ(crash.note.stack, "");
}

TEST_F(CrashHandlerSegvTest, SignalThatSomebodySendsNamesTheSender) {
  const Crash crash = RunCrash([] {
    const pid_t victim = getpid();
    const pid_t killer = fork();
    if (killer == 0) {
      kill(victim, SIGSEGV);
      _exit(0);
    }
    while (true) pause();
  });
  EXPECT_EQ(crash.code, -SIGSEGV);
  EXPECT_THAT(crash.note.stack, StartsWith("sent by process "));
}

TEST(CrashHandlerTerminateTest, SaysTheException) {
  const Crash crash = RunCrash(
      [] { std::thread([] { throw std::out_of_range("row 7"); }).join(); });
  EXPECT_EQ(crash.code, -SIGABRT);
  EXPECT_EQ(crash.note.message, "uncaught std::out_of_range: row 7");
  EXPECT_THAT(crash.note.stack, HasSubstr("abort ["));
}

TEST(CrashHandlerTerminateTest, SaysAnExceptionWithoutWords) {
  const Crash crash = RunCrash([] { std::thread([] { throw 42; }).join(); });
  EXPECT_EQ(crash.code, -SIGABRT);
  EXPECT_EQ(crash.note.message, "uncaught int");
}

TEST(CrashHandlerTerminateTest, SaysWhenThereIsNoException) {
  const Crash crash = RunCrash([] { std::thread unjoined(pause); });
  EXPECT_EQ(crash.code, -SIGABRT);
  EXPECT_EQ(crash.note.message, "std::terminate() without an exception");
}

TEST(CrashHandlerTerminateTest, CutsALongMessage) {
  const Crash crash = RunCrash([] {
    std::thread([] {
      throw std::runtime_error(std::string(100'000, 'x'));
    }).join();
  });
  EXPECT_THAT(crash.note.message,
              StartsWith("uncaught std::runtime_error: xxx"));
  EXPECT_THAT(crash.note.message, ::testing::EndsWith("xxx..."));
}

TEST(CrashHandlerTerminateTest, LeavesAHandlerOfTheProgramsInPlace) {
  const Crash crash = RunCrash([] {
    std::set_terminate([] { _exit(88); });
    CrashSlotLease lease = *CrashArena::Get().Take();
    MP_CHECK_OK(AttachCrashSlot(*lease.MakeTicket()));
    std::terminate();
  });
  EXPECT_EQ(crash.code, 88);
}

TEST(CrashHandlerExitTest, NotesTheCodeOfExit) {
  const Crash crash = RunCrash([] { std::exit(19); });
  EXPECT_EQ(crash.code, 19);
  EXPECT_THAT(crash.note.exit_code, Optional(19));
}

TEST(CrashHandlerExitTest, NotesTheCodeBeforeUnderscoreExitOnRequest) {
  const Crash crash = RunCrash([] {
    NoteExitCode(256 + 21);
    _exit(21);
  });
  EXPECT_EQ(crash.code, 21);
  EXPECT_THAT(crash.note.exit_code, Optional(21));
}

TEST(CrashHandlerExitTest, ForkedBySomebodyElseItNotesNothing) {
  const Crash crash = RunCrash([] {
    const pid_t pid = fork();
    if (pid == 0) std::exit(5);
    waitpid(pid, nullptr, 0);
    _exit(6);
  });
  EXPECT_EQ(crash.code, 6);
  EXPECT_EQ(crash.note.exit_code, std::nullopt);
}

TEST(CrashHandlerExitTest, FirstFailureIsKept) {
  const Crash crash = RunCrash([] {
    NoteFailure("one");
    NoteFailure("two");
    _exit(0);
  });
  EXPECT_EQ(crash.note.message, "one");
}

TEST(CrashHandlerExitTest, WithoutASlotNothingHappens) {
  NoteExitCode(3);
  NoteFailure("nobody hears");
  CrashSlotTicket nowhere;
  EXPECT_THAT(AttachCrashSlot(std::move(nowhere)), Not(IsOk()));
}

}  // namespace
}  // namespace mp::internal
