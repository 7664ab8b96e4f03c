#include "mp/testing/ballast.h"

#include <unistd.h>

#include <cstddef>
#include <fstream>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/status_matchers.h"

namespace mp::testing {
namespace {

constexpr size_t kSize = 64 << 20;

// Returns the bytes of memory that this process has.
size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t all_pages = 0;
  size_t resident_pages = 0;
  statm >> all_pages >> resident_pages;
  return resident_pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

TEST(BallastTest, IsMemoryThatIsThereUntilItGoes) {
  const size_t before = ResidentBytes();
  {
    const auto ballast = Ballast::Create(kSize);
    ASSERT_THAT(ballast, IsOk());
    EXPECT_GE(ResidentBytes(), before + kSize * 9 / 10);
  }
  EXPECT_LT(ResidentBytes(), before + kSize / 2);
}

TEST(BallastTest, Moves) {
  auto ballast = Ballast::Create(kSize);
  ASSERT_THAT(ballast, IsOk());
  const size_t with_one = ResidentBytes();
  const Ballast moved = *std::move(ballast);
  EXPECT_GE(ResidentBytes(), with_one - kSize / 2);
}

TEST(BallastTest, SaysHowMuchItCouldNotHave) {
  EXPECT_THAT(Ballast::Create(size_t{1} << 60),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       ::testing::HasSubstr("1152921504606846976")));
}

}  // namespace
}  // namespace mp::testing
