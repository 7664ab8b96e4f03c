#include "mp/process/internal/thread_count.h"

#include <atomic>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using ::mp::testing::IsOkAndHolds;

TEST(CountThreadsTest, CountsThoseThatRun) {
  EXPECT_THAT(CountThreads(), IsOkAndHolds(1));
  std::atomic<bool> done{false};
  std::thread other([&] { done.wait(false); });
  EXPECT_THAT(CountThreads(), IsOkAndHolds(2));
  done = true;
  done.notify_one();
  other.join();
}

}  // namespace
}  // namespace mp::internal
