#ifndef MP_POOL_INTERNAL_POOL_TEST_FIXTURE_H_
#define MP_POOL_INTERNAL_POOL_TEST_FIXTURE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {

// Pools of each start method, of which nothing may be left.
class PoolTestFixture : public ::testing::TestWithParam<StartMethod> {
 protected:
  void SetUp() override {
    // What stays for the next process, such as a fork server, is there already.
    ASSERT_THAT(MakePool()->Apply([] {}), ::mp::testing::IsOk());
    leak_check_ = std::make_unique<::mp::testing::LeakCheck>();
  }

  absl::StatusOr<Pool> MakePool(PoolOptions options = {}) {
    options.context = GetParam();
    if (!options.processes.has_value()) options.processes = 3;
    return Pool::Create(options);
  }

 private:
  std::unique_ptr<::mp::testing::LeakCheck> leak_check_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_POOL_TEST_FIXTURE_H_
