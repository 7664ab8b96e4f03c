// Many threads call everything that may be called from several threads at once
// on one Process, while it runs and while it ends.

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/current_process.h"
#include "mp/process/exit.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AwaitRelease;
using ::mp::internal::Copy;
using ::mp::internal::ForkServer;
using ::mp::internal::kLong;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;

constexpr int kThreads = 16;
constexpr int kCalls = 1200;  // by all of them together
// Ends with 7 once it is released, and not by a SIGTERM.
void Resist(const Report& report, const Report& release) {
  if (CurrentProcess().started_by != StartMethod::kThread) {
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
  }
  Say(report, "ready");
  AwaitRelease(release);
  Exit(7);
}

class ConcurrentCallsTest : public internal::StartMethodTest {
 protected:
  void SetUp() override {
    // What there is once in a process may stay.
    Process first({.context = GetParam()}, [] {});
    ASSERT_THAT(first.Start(), IsOk());
    ASSERT_THAT(first.Join(kLong), IsOk());
    ForkServer::Get().Stop();
  }

  static bool IsWaitResult(const absl::Status& status) {
    return status.ok() || absl::IsDeadlineExceeded(status);
  }
  // A thread cannot be signalled.
  bool IsSignalResult(const absl::Status& status) const {
    return status.ok() || (is_thread() && absl::IsUnimplemented(status));
  }

  // One thread's calls. What ends stays ended, with the same exit code.
  void CallAround(Process& process, int seed) {
    std::minstd_rand random(static_cast<unsigned>(seed));
    std::optional<int> code;
    for (int i = 0; i < kCalls / kThreads; ++i) {
      switch (random() % 6) {
        case 0:
          EXPECT_TRUE(IsWaitResult(process.Join(absl::ZeroDuration())));
          break;
        case 1:
          EXPECT_TRUE(IsWaitResult(process.Join(absl::Milliseconds(1))));
          break;
        case 2:
          EXPECT_FALSE(process.IsAlive() && code.has_value());
          break;
        case 3:
          EXPECT_TRUE(IsSignalResult(process.Terminate()));
          break;
        case 4:
          EXPECT_TRUE(IsSignalResult(process.Interrupt()));
          break;
        case 5:
          const std::optional<int> now = process.exitcode();
          EXPECT_TRUE(!code.has_value() || now == code);
          code = now;
          break;
      }
    }
    EXPECT_THAT(process.Join(kLong), IsOk());
    EXPECT_FALSE(process.IsAlive());
  }

  // Has `end` called in the midst of all the other calls.
  template <typename End>
  std::optional<int> ExitCodeAmongCalls(End end) {
    Listener listener;
    auto release = testing::Marker::Create();
    MP_CHECK_OK(release);
    Process process({.context = GetParam()}, Resist, listener.report(),
                    Copy(release->reader()));
    EXPECT_THAT(process.Start(), IsOk());
    EXPECT_EQ(listener.Hear(5), "ready");
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        if (i == kThreads / 2) end(process, *release);
        CallAround(process, i + 1);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return process.exitcode();
  }
};

MP_INSTANTIATE_TEST_SUITE(ConcurrentCallsTest, AllStartMethods);

TEST_P(ConcurrentCallsTest, AgreeOnAProcessThatEndsByItself) {
  LeakCheck leak_check;
  EXPECT_EQ(ExitCodeAmongCalls([](Process&, testing::Marker& release) {
              EXPECT_THAT(release.Signal(), IsOk());
            }),
            7);
  ForkServer::Get().Stop();
}

TEST_P(ConcurrentCallsTest, AgreeOnAProcessThatIsKilled) {
  if (is_thread()) GTEST_SKIP() << "a thread cannot be killed";
  LeakCheck leak_check;
  EXPECT_EQ(ExitCodeAmongCalls([](Process& process, testing::Marker&) {
              EXPECT_THAT(process.Kill(), IsOk());
            }),
            -SIGKILL);
  ForkServer::Get().Stop();
}

// All at once for the one end that there is to be reaped.
TEST_P(ConcurrentCallsTest, AgreeOnManyEnds) {
  LeakCheck leak_check;
  for (int i = 0; i < 20; ++i) {
    Process process(
        {.context = GetParam()}, [](int code) { Exit(code); }, i);
    ASSERT_THAT(process.Start(), IsOk());
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int j = 0; j < 8; ++j) {
      threads.emplace_back([&, j] {
        EXPECT_TRUE(j % 2 == 1 || process.Join(kLong).ok());
        while (process.IsAlive()) continue;
        right += process.exitcode() == i ? 1 : 0;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(right, 8);
  }
  ForkServer::Get().Stop();
}

}  // namespace
}  // namespace mp
