#include "mp/testing/status_matchers.h"

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mp::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Matcher;
using ::testing::Not;
using ::testing::Pointee;
using ::testing::StringMatchResultListener;

absl::StatusOr<std::string> Text() { return "text"; }
absl::StatusOr<std::string> NoText() { return absl::NotFoundError("no text"); }

// Returns what `matcher` says of `value`, beside yes or no.
template <typename T>
std::string Explain(const Matcher<const T&>& matcher, const T& value) {
  StringMatchResultListener listener;
  matcher.MatchAndExplain(value, &listener);
  return listener.str();
}

TEST(IsOkTest, TellsOkFromErrors) {
  EXPECT_THAT(absl::OkStatus(), IsOk());
  EXPECT_THAT(absl::NotFoundError("no text"), Not(IsOk()));
  EXPECT_THAT(Text(), IsOk());
  EXPECT_THAT(NoText(), Not(IsOk()));
}

TEST(IsOkTest, ExplainsWithTheStatus) {
  EXPECT_EQ(Explain<absl::Status>(IsOk(), absl::NotFoundError("no text")),
            "whose status is NOT_FOUND: no text");
}

TEST(IsOkAndHoldsTest, MatchesTheValue) {
  EXPECT_THAT(Text(), IsOkAndHolds("text"));
  EXPECT_THAT(Text(), IsOkAndHolds(HasSubstr("ex")));
  EXPECT_THAT(Text(), Not(IsOkAndHolds("other")));
  EXPECT_THAT(NoText(), Not(IsOkAndHolds("text")));
}

TEST(IsOkAndHoldsTest, TakesValuesThatOnlyMove) {
  const absl::StatusOr<std::unique_ptr<int>> value = std::make_unique<int>(3);
  EXPECT_THAT(value, IsOkAndHolds(Pointee(3)));
}

TEST(IsOkAndHoldsTest, ExplainsWithTheStatusOrTheValue) {
  using Result = absl::StatusOr<std::string>;
  EXPECT_EQ(Explain<Result>(IsOkAndHolds("text"), NoText()),
            "whose status is NOT_FOUND: no text");
  EXPECT_THAT(Explain<Result>(IsOkAndHolds("other"), Text()),
              HasSubstr("whose value is \"text\""));
  EXPECT_THAT(::testing::DescribeMatcher<Result>(IsOkAndHolds("other")),
              "is OK and is equal to \"other\"");
}

TEST(StatusIsTest, MatchesCodeAndMessage) {
  const absl::Status status = absl::NotFoundError("no text");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, "no text"));
  EXPECT_THAT(NoText(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no")));
  EXPECT_THAT(status, Not(StatusIs(absl::StatusCode::kInternal)));
  EXPECT_THAT(status, Not(StatusIs(absl::StatusCode::kNotFound, "other")));
  EXPECT_THAT(Text(), StatusIs(absl::StatusCode::kOk));
}

TEST(StatusIsTest, NamesTheCode) {
  const Matcher<const absl::Status&> matcher =
      StatusIs(absl::StatusCode::kInternal, "x");
  EXPECT_THAT(::testing::DescribeMatcher<const absl::Status&>(matcher),
              AllOf(HasSubstr("INTERNAL"), HasSubstr("is equal to \"x\"")));
  EXPECT_THAT(Explain<absl::Status>(matcher, absl::NotFoundError("no text")),
              HasSubstr("NOT_FOUND: no text"));
}

}  // namespace
}  // namespace mp::testing
