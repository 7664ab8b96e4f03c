// What becomes of a Process when somebody is killed.

#include <dlfcn.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::ExitCodeOf;
using ::mp::internal::ForkServer;
using ::mp::internal::kLong;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Optional;

int RunOne(StartMethod method, int code) {
  Process process(
      {.context = method}, [](int code) { Exit(code); }, code);
  return ExitCodeOf(process);
}

class ProcessDeathTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ProcessDeathTest, RealStartMethods);

TEST_P(ProcessDeathTest, ChildKilledWhileItBeginsIsSeenAsKilled) {
  RunOne(GetParam(), 0);  // a fork server may start, and stays
  LeakCheck leak_check;
  for (int i = 0; i < 50; ++i) {
    Process process({.context = GetParam()}, [] { pause(); });
    ASSERT_THAT(process.Start(), IsOk());
    usleep(20 * i);  // another moment each time
    ASSERT_THAT(process.Kill(), IsOk());
    ASSERT_THAT(process.Join(kLong), IsOk());
    EXPECT_THAT(process.exitcode(), Optional(-SIGKILL));
  }
}

TEST_P(ProcessDeathTest, LargeArgumentsDoNotHangOnAChildThatIsKilled) {
  const std::string large(8 << 20, 'x');
  Process process(
      {.context = GetParam()}, [](const std::string&) {}, large);
  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_THAT(process.Kill(), IsOk());
  EXPECT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(AnyOf(0, -SIGKILL)));
}

TEST_P(ProcessDeathTest, ExitCodeIsKnownThoughAnotherWaitTookTheStatus) {
  Process process({.context = GetParam()}, [] { Exit(5); });
  RunOne(GetParam(), 0);
  ASSERT_THAT(process.Start(), IsOk());
  waitpid(*process.pid(), nullptr, 0);
  EXPECT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(5));
  EXPECT_FALSE(process.IsAlive());
  EXPECT_THAT(process.Kill(), IsOk());
}

// Lets this process open `more` descriptors, for the scope.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(int more) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int next = dup(STDERR_FILENO);  // the lowest that is free
    close(next);
    rlimit limit = before_;
    limit.rlim_cur = next + more;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  ~DescriptorLimit() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

TEST_P(ProcessDeathTest, WithoutDescriptorsAStartFailsAndLeavesNothing) {
  ForkServer::Get().Stop();
  LeakCheck leak_check;
  bool started = false;
  for (int more = 0; !started; ++more) {
    Process process({.context = GetParam()}, [] { Exit(6); });
    absl::Status status;
    {
      const DescriptorLimit limit(more);
      status = process.Start();
    }
    started = status.ok();
    if (!started) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, _));
      ForkServer::Get().Stop();  // it has the limit that it was started with
      ASSERT_THAT(process.Start(), IsOk()) << "after " << status;
    }
    ASSERT_THAT(process.Join(kLong), IsOk());
    EXPECT_THAT(process.exitcode(), Optional(6));
    // So that the next round has to start it again.
    ForkServer::Get().Stop();
  }
}

TEST(ForkServerDeathTest, NextStartFindsANewServer) {
  EXPECT_EQ(RunOne(StartMethod::kForkServer, 1), 1);
  LeakCheck leak_check;
  const std::optional<pid_t> server = ForkServer::Get().pid();
  ASSERT_TRUE(server.has_value());
  ASSERT_EQ(kill(*server, SIGKILL), 0);
  EXPECT_EQ(RunOne(StartMethod::kForkServer, 2), 2);
  EXPECT_NE(ForkServer::Get().pid(), server);
  ForkServer::Get().Stop();
}

TEST(ForkServerDeathTest, KilledAtAnyMomentNoStartFails) {
  std::atomic<bool> done{false};
  std::thread killer([&] {
    for (int i = 0; !done; ++i) {
      const std::optional<pid_t> server = ForkServer::Get().pid();
      if (server.has_value()) kill(*server, SIGKILL);
      usleep(1000 + i % 7 * 700);
    }
  });
  int right = 0;
  for (int i = 0; i < 100; ++i) {
    Process process(
        {.context = StartMethod::kForkServer}, [](int code) { Exit(code); }, i);
    EXPECT_THAT(process.Start(), IsOk());
    EXPECT_THAT(process.Join(kLong), IsOk());
    right += process.exitcode() == i ? 1 : 0;
  }
  done = true;
  killer.join();
  EXPECT_EQ(right, 100);
}

TEST(ForkServerDeathTest, ChildrenOutliveTheServer) {
  Process process({.context = StartMethod::kForkServer}, [] { pause(); });
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_EQ(kill(ForkServer::Get().pid().value(), SIGKILL), 0);
  EXPECT_EQ(RunOne(StartMethod::kForkServer, 4), 4);
  EXPECT_TRUE(process.IsAlive());
  EXPECT_THAT(process.Kill(), IsOk());
  EXPECT_THAT(process.Join(kLong), IsOk());
  // What its parent knew died with it, where that was the server.
  EXPECT_THAT(process.exitcode(), Optional(AnyOf(-SIGKILL, 255)));
}

TEST_P(ProcessDeathTest, FunctionOfALibraryThatTheChildLacksIsRefused) {
  void* const library =
      dlopen("mp/process/testdata/libloaded.so", RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  auto* const function = reinterpret_cast<void (*)()>(dlsym(library, "Loaded"));
  Process process({.context = GetParam()}, function);
  if (GetParam() == StartMethod::kFork) {
    EXPECT_EQ(ExitCodeOf(process), 33);
  } else {
    EXPECT_THAT(process.Start(),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr("libloaded.so"),
                               HasSubstr("loaded after mp::Init()"))));
  }
  dlclose(library);
}

}  // namespace
}  // namespace mp
