#include "mp/base/status_macros.h"

#include <signal.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using testing::IsOk;
using testing::IsOkAndHolds;
using testing::StatusIs;

constexpr absl::StatusCode kNotFound = absl::StatusCode::kNotFound;

// Counts how often it is evaluated.
struct Source {
  absl::Status Check() {
    ++calls;
    return status;
  }
  absl::StatusOr<std::unique_ptr<int>> Get() {
    ++calls;
    if (!status.ok()) return status;
    return std::make_unique<int>(7);
  }

  absl::Status status;
  int calls = 0;
};

Source Good() { return {absl::OkStatus()}; }
Source Bad() { return {absl::NotFoundError("none here")}; }

absl::StatusOr<std::string> CheckTwice(Source& first, Source& second) {
  MP_RETURN_IF_ERROR(first.Check());
  MP_RETURN_IF_ERROR(second.Check());
  return "end";
}

TEST(ReturnIfErrorTest, GoesOnAfterOk) {
  Source first = Good(), second = Good();
  EXPECT_THAT(CheckTwice(first, second), IsOkAndHolds("end"));
  EXPECT_EQ(first.calls, 1);
  EXPECT_EQ(second.calls, 1);
}

TEST(ReturnIfErrorTest, ReturnsTheFirstError) {
  Source first = Bad(), second = Good();
  EXPECT_THAT(CheckTwice(first, second), StatusIs(kNotFound, "none here"));
  EXPECT_EQ(first.calls, 1);
  EXPECT_EQ(second.calls, 0);
}

TEST(ReturnIfErrorTest, IsOneStatement) {
  const auto check_if = [](bool wanted, Source& source) -> absl::Status {
    if (wanted)
      MP_RETURN_IF_ERROR(source.Check());
    else
      return absl::CancelledError("");
    return absl::OkStatus();
  };
  Source good = Good();
  EXPECT_THAT(check_if(true, good), IsOk());
  EXPECT_THAT(check_if(false, good), StatusIs(absl::StatusCode::kCancelled));
}

absl::StatusOr<int> AddTwo(Source& source) {
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<int> first, source.Get());
  std::unique_ptr<int> second;
  MP_ASSIGN_OR_RETURN(second, source.Get());
  return *first + *second;
}

TEST(AssignOrReturnTest, DeclaresAndAssignsWhatOnlyMoves) {
  Source source = Good();
  EXPECT_THAT(AddTwo(source), IsOkAndHolds(14));
  EXPECT_EQ(source.calls, 2);
}

TEST(AssignOrReturnTest, ReturnsTheError) {
  Source source = Bad();
  EXPECT_THAT(AddTwo(source), StatusIs(kNotFound, "none here"));
  EXPECT_EQ(source.calls, 1);
}

TEST(AssignOrReturnTest, ParenthesesProtectCommas) {
  using Pair = std::pair<int, int>;
  const auto subtract = [](absl::StatusOr<Pair> pair) -> absl::StatusOr<int> {
    MP_ASSIGN_OR_RETURN((const std::pair<int, int> whole), pair);
    MP_ASSIGN_OR_RETURN((const auto [first, second]), pair);
    EXPECT_EQ(whole, Pair(first, second));
    return first - second;
  };
  EXPECT_THAT(subtract(Pair(5, 3)), IsOkAndHolds(2));
  EXPECT_THAT(subtract(absl::NotFoundError("")), StatusIs(kNotFound));
}

TEST(CheckOkTest, PassesOk) {
  MP_CHECK_OK(absl::OkStatus());
  MP_CHECK_OK(absl::StatusOr<int>(1));
  MP_CHECK_OK(Good().Get());
}

TEST(CheckOkDeathTest, EndsTheProcessWithALine) {
  const ::testing::KilledBySignal aborted(SIGABRT);
  EXPECT_EXIT(MP_CHECK_OK(Bad().Check()), aborted,
              "status_macros_test.cc:[0-9]+: .*Bad.*: NOT_FOUND: none here");
  EXPECT_EXIT(MP_CHECK_OK(Bad().Get()), aborted, "NOT_FOUND: none here");
}

}  // namespace
}  // namespace mp
