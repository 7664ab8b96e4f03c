// The fork server is killed and stopped at random moments while several threads
// start and join processes: no start fails, and no child is lost or run twice.
//
// MP_TEST_SEED repeats a run as far as it can be repeated.

#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/pidfd.h"
#include "mp/base/sanitizers.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/report.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::ForkServer;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::testing::Optional;

constexpr bool kIsSlow = kAddressSanitizer || kThreadSanitizer;
constexpr absl::Duration kLong = absl::Seconds(60);
constexpr int kThreads = 4;
constexpr int kStartsPerThread = kIsSlow ? 15 : 100;

// Does something to one fork server after another, each a random while after it
// was first seen, until this object goes away.
class Tormentor {
 public:
  using Torment = void (*)(const Fd& server, std::minstd_rand& random);

  Tormentor(Torment torment, unsigned seed)
      : thread_([this, torment, seed] { Run(torment, seed); }) {}
  ~Tormentor() {
    done_ = true;
    thread_.join();
  }
  // How often it was done.
  int count() const { return count_; }

 private:
  void Run(Torment torment, unsigned seed) {
    std::minstd_rand random(seed);
    while (!done_) {
      const std::optional<pid_t> server = ForkServer::Get().pid();
      if (server.has_value()) {
        // It is a child of ours, and there is a while until its pid is another
        // one's; a pidfd then stays with it.
        const absl::StatusOr<Fd> pidfd = OpenPidfd(*server);
        absl::SleepFor(absl::Microseconds(random() % 5000));
        if (pidfd.ok()) torment(*pidfd, random);
        ++count_;
      }
      absl::SleepFor(absl::Microseconds(random() % 1000));
    }
  }

  std::atomic<bool> done_{false};
  std::atomic<int> count_{0};
  std::thread thread_;
};

void Kill(const Fd& server, std::minstd_rand&) {
  SendSignal(server, SIGKILL).IgnoreError();
}

void StopForAWhile(const Fd& server, std::minstd_rand& random) {
  SendSignal(server, SIGSTOP).IgnoreError();
  absl::SleepFor(absl::Microseconds(random() % 20'000));
  SendSignal(server, SIGCONT).IgnoreError();
}

void DoEither(const Fd& server, std::minstd_rand& random) {
  (random() % 2 == 0 ? Kill : StopForAWhile)(server, random);
}

void KillWhileStopped(const Fd& server, std::minstd_rand& random) {
  SendSignal(server, SIGSTOP).IgnoreError();
  absl::SleepFor(absl::Microseconds(random() % 5000));
  Kill(server, random);
}

void BeSeen(const Report& report, char number) {
  Say(report, std::string(1, number));
  Exit(number % 100);
}

class ForkServerDeathTest : public ::testing::Test {
 protected:
  ForkServerDeathTest() {
    const char* const text = getenv("MP_TEST_SEED");
    seed_ = text != nullptr ? static_cast<unsigned>(atoi(text))
                            : std::random_device()() >> 4;
    std::cout << "MP_TEST_SEED=" << seed_ << std::endl;
  }

  static void RunOne(int code) {
    Process process(
        {.context = StartMethod::kForkServer}, [](int code) { Exit(code); },
        code);
    ASSERT_THAT(process.Start(), IsOk());
    ASSERT_THAT(process.Join(kLong), IsOk());
    EXPECT_THAT(process.exitcode(), Optional(code));
  }

  // Starts and joins processes, and counts those that are right.
  static void StartMany(const Report& report, std::atomic<int>& right) {
    for (int i = 0; i < kStartsPerThread; ++i) {
      Process process({.context = StartMethod::kForkServer}, BeSeen, report,
                      static_cast<char>(i));
      const absl::Status started = process.Start();
      EXPECT_THAT(started, IsOk());
      if (!started.ok()) continue;
      EXPECT_THAT(process.Join(kLong), IsOk());
      EXPECT_THAT(process.exitcode(), Optional(i % 100));
      right += process.exitcode() == i % 100 ? 1 : 0;
    }
  }

  void ExpectNoneIsLost(Tormentor::Torment torment) {
    RunOne(0);  // what there is once in a process may stay
    ForkServer::Get().Stop();
    LeakCheck leak_check;
    Listener listener;
    std::atomic<int> right{0};
    {
      const Tormentor tormentor(torment, seed_);
      std::vector<std::thread> threads;
      for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&] { StartMany(listener.report(), right); });
      }
      for (std::thread& thread : threads) thread.join();
      EXPECT_GT(tormentor.count(), 3);
      std::cout << tormentor.count() << " times" << std::endl;
    }
    EXPECT_EQ(right, kThreads * kStartsPerThread);
    std::string seen = listener.Hear();
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(seen, Expected());
    ForkServer::Get().Stop();
  }

 private:
  // Each number once from each thread.
  static std::string Expected() {
    std::string expected;
    for (int i = 0; i < kStartsPerThread; ++i) {
      expected += std::string(kThreads, static_cast<char>(i));
    }
    return expected;
  }

  unsigned seed_;
};

TEST_F(ForkServerDeathTest, LosesNoChildWhenKilled) { ExpectNoneIsLost(Kill); }

TEST_F(ForkServerDeathTest, LosesNoChildWhenStoppedForAWhile) {
  ExpectNoneIsLost(StopForAWhile);
}

TEST_F(ForkServerDeathTest, LosesNoChildWhenKilledOrStopped) {
  ExpectNoneIsLost(DoEither);
}

TEST_F(ForkServerDeathTest, LosesNoChildWhenKilledWhileStopped) {
  ExpectNoneIsLost(KillWhileStopped);
}

// This one takes as long as the client's patience.
TEST_F(ForkServerDeathTest, IsReplacedWhenStoppedForEver) {
  RunOne(1);
  const std::optional<pid_t> server = ForkServer::Get().pid();
  ASSERT_TRUE(server.has_value());
  ASSERT_EQ(kill(*server, SIGSTOP), 0);
  RunOne(2);
  EXPECT_NE(ForkServer::Get().pid(), server);
  ForkServer::Get().Stop();
}

}  // namespace
}  // namespace mp
