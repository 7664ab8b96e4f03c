// What happens in a program that does not call mp::Init().

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/context.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::LeaksSince;
using ::mp::testing::ResourceSnapshot;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;

TEST(NoInitTest, SpawnAndForkServerFailBeforeAnythingIsExecuted) {
  for (StartMethod method : {StartMethod::kSpawn, StartMethod::kForkServer}) {
    const ResourceSnapshot before = ResourceSnapshot::Take();
    Process process({.context = method}, [] {});
    EXPECT_THAT(process.Start(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                          HasSubstr("mp::Init(argc, argv)")));
    EXPECT_THAT(LeaksSince(before), IsEmpty());
    EXPECT_EQ(process.pid(), std::nullopt);
  }
}

TEST(NoInitTest, ForkAndThreadDoNotNeedIt) {
  for (StartMethod method : {StartMethod::kFork, StartMethod::kThread}) {
    Process process({.context = method}, [] {});
    EXPECT_THAT(process.Start(), IsOk());
    EXPECT_THAT(process.Join(), IsOk());
    EXPECT_THAT(process.exitcode(), Optional(0));
  }
}

}  // namespace
}  // namespace mp
