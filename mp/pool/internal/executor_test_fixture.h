#ifndef MP_POOL_INTERNAL_EXECUTOR_TEST_FIXTURE_H_
#define MP_POOL_INTERNAL_EXECUTOR_TEST_FIXTURE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "mp/pool/executor.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {

// Executors of each start method, of which nothing may be left.
class ExecutorTestFixture : public ::testing::TestWithParam<StartMethod> {
 protected:
  void SetUp() override {
    // What stays for the next process, such as a fork server, is there already.
    ASSERT_THAT(MakeExecutor()->Submit([] {}).Get(kLong),
                ::mp::testing::IsOk());
    leak_check_ = std::make_unique<::mp::testing::LeakCheck>();
  }

  absl::StatusOr<Executor> MakeExecutor(ExecutorOptions options = {}) {
    options.context = GetParam();
    if (!options.max_workers.has_value()) options.max_workers = 2;
    return Executor::Create(options);
  }

 private:
  std::unique_ptr<::mp::testing::LeakCheck> leak_check_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_EXECUTOR_TEST_FIXTURE_H_
