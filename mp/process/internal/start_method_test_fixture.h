#ifndef MP_PROCESS_INTERNAL_START_METHOD_TEST_FIXTURE_H_
#define MP_PROCESS_INTERNAL_START_METHOD_TEST_FIXTURE_H_

#include <string>
#include <utility>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/process.h"

// What tests share that hold for several start methods.
//
// Example:
//   class GreetTest : public StartMethodTest {};
//   MP_INSTANTIATE_TEST_SUITE(GreetTest, AllStartMethods);
//
//   TEST_P(GreetTest, Succeeds) { EXPECT_EQ(Run(Greet, "bob"), 0); }
namespace mp::internal {

// Longer than anything takes that works.
inline constexpr absl::Duration kLong = absl::Seconds(60);

// What exit codes are compared with if there is none.
inline constexpr int kNoExitCode = -1000;

// Runs a process to its end and returns its exit code.
inline int ExitCodeOf(Process& process) {
  MP_CHECK_OK(process.Start());
  MP_CHECK_OK(process.Join(kLong));
  return process.exitcode().value_or(kNoExitCode);
}

class StartMethodTest : public ::testing::TestWithParam<StartMethod> {
 protected:
  ProcessOptions options() const { return {.context = GetParam()}; }
  bool is_thread() const { return GetParam() == StartMethod::kThread; }

  // Runs a function in a process and returns its exit code.
  template <typename... Args>
  int Run(Args&&... args) const {
    Process process(options(), std::forward<Args>(args)...);
    return ExitCodeOf(process);
  }
};

inline auto AllStartMethods() {
  return ::testing::Values(StartMethod::kForkServer, StartMethod::kFork,
                           StartMethod::kSpawn, StartMethod::kThread);
}

// Those without threads, which cannot be killed and share all with us.
inline auto RealStartMethods() {
  return ::testing::Values(StartMethod::kForkServer, StartMethod::kFork,
                           StartMethod::kSpawn);
}

// Those without fork, which can do without sending.
inline auto SendingStartMethods() {
  return ::testing::Values(StartMethod::kForkServer, StartMethod::kSpawn,
                           StartMethod::kThread);
}

// Those whose processes inherit only what they are given.
inline auto CleanStartMethods() {
  return ::testing::Values(StartMethod::kForkServer, StartMethod::kSpawn);
}

inline std::string StartMethodTestName(
    const ::testing::TestParamInfo<StartMethod>& info) {
  return std::string(StartMethodName(info.param));
}

}  // namespace mp::internal

// Has the tests of `suite` run for `methods`, one of the functions above. Their
// names end in that of the start method.
#define MP_INSTANTIATE_TEST_SUITE(suite, methods)                     \
  INSTANTIATE_TEST_SUITE_P(methods, suite, ::mp::internal::methods(), \
                           ::mp::internal::StartMethodTestName)

#endif  // MP_PROCESS_INTERNAL_START_METHOD_TEST_FIXTURE_H_
