#ifndef MP_POOL_INTERNAL_POOL_TEST_FIXTURE_H_
#define MP_POOL_INTERNAL_POOL_TEST_FIXTURE_H_

#include <cstddef>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {

// 0, 1, 2 and so on.
inline std::vector<int> Numbers(int count) {
  std::vector<int> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

// Pools of each start method, of which nothing may be left.
class PoolTestFixture : public ::testing::TestWithParam<StartMethod> {
 protected:
  // `processes` are those of a pool of which a test does not say how many it has;
  // `patience` is how long what is left may take to go.
  explicit PoolTestFixture(int processes = 3,
                           absl::Duration patience = absl::Seconds(10))
      : processes_(processes), patience_(patience) {}

  void SetUp() override {
    // What stays for the next process, such as a fork server, is there already.
    ASSERT_THAT(MakePool()->Apply([] {}), ::mp::testing::IsOk());
    leak_check_ = std::make_unique<::mp::testing::LeakCheck>(patience_);
  }

  absl::StatusOr<Pool> MakePool(PoolOptions options = {}) {
    options.context = GetParam();
    if (!options.processes.has_value()) options.processes = processes_;
    return Pool::Create(options);
  }

 private:
  const int processes_;
  const absl::Duration patience_;
  std::unique_ptr<::mp::testing::LeakCheck> leak_check_;
};

// The same with a pool, which is still of use after the test.
class OpenPoolTestFixture : public PoolTestFixture {
 protected:
  using PoolTestFixture::PoolTestFixture;

  void SetUp() override {
    PoolTestFixture::SetUp();
    pool_ = MakePool();
    ASSERT_THAT(pool_, ::mp::testing::IsOk());
  }
  void TearDown() override {
    if (!pool_.ok()) return;
    EXPECT_THAT(pool_->Apply([] { return -7; }),
                ::mp::testing::IsOkAndHolds(-7));
  }

  absl::StatusOr<Pool> pool_ = absl::UnknownError("not made");
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_POOL_TEST_FIXTURE_H_
