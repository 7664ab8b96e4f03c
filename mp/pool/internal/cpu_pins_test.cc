#include "mp/pool/internal/cpu_pins.h"

#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/child.h"

namespace mp::internal {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::RunInChild;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(CpuPinsTest, SpreadsWorkers) {
  CpuPins pins({2, 5, 7});
  EXPECT_EQ(pins.Take(1), 2);
  EXPECT_EQ(pins.Take(2), 5);
  EXPECT_EQ(pins.Take(3), 7);
  EXPECT_EQ(pins.Take(4), 2);
  pins.Release(2);
  EXPECT_EQ(pins.Take(5), 5);
  pins.Release(1);
  pins.Release(4);
  pins.Release(4);
  EXPECT_EQ(pins.Take(6), 2);
}

TEST(CpuPinsTest, PinsAProcess) {
  ASSERT_THAT(AllowedCpus(), Not(IsEmpty()));
  Child child = RunInChild([]() -> absl::Status {
    const int last = AllowedCpus().back();
    if (absl::Status pinned = PinProcess(0, last); !pinned.ok()) return pinned;
    if (AllowedCpus() == std::vector<int>{last}) return absl::OkStatus();
    return absl::InternalError("it may run elsewhere, too");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST(CpuPinsTest, SaysWhatCannotBePinned) {
  EXPECT_THAT(PinProcess(0, 60'000).message(), HasSubstr("CPU 60000"));
}

}  // namespace
}  // namespace mp::internal
