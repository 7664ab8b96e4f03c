#include "mp/process/bind.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/internal/round_trip.h"
#include "mp/process/parcel.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::Pack;
using ::mp::testing::RoundTrip;
using ::mp::testing::StatusIs;
using ::mp::testing::Unpack;

std::string Join(const std::string& a, const std::string& b, int n) {
  return a + b + std::to_string(n);
}

struct Counter {
  int count = 0;
  int Plus(int n) const { return count + n; }
  MP_FIELDS(count)
};

struct Scale {
  double factor = 1;
  double operator()(double x) const { return factor * x; }
  MP_FIELDS(factor)
};

TEST(BindTest, BindsTheFirstArguments) {
  EXPECT_EQ(Bind(Join)("a", "b", 1), "ab1");
  EXPECT_EQ(Bind(Join, "a")("b", 1), "ab1");
  EXPECT_EQ(Bind(Join, "a", "b")(1), "ab1");
  EXPECT_EQ(Bind(Join, "a", "b", 1)(), "ab1");
}

TEST(BindTest, MayBeCalledAgain) {
  const auto bound = Bind(Join, "a", "b");
  EXPECT_EQ(bound(1), "ab1");
  EXPECT_EQ(bound(2), "ab2");
}

TEST(BindTest, ConvertsArgumentsToTheParameters) {
  using Bound = decltype(Bind(Join, "a", "b", 'c'));
  static_assert(
      std::is_same_v<
          Bound, BoundCall<decltype(&Join), std::string, std::string, int>>);
  EXPECT_EQ(Bind(Join, "a", "b", 'c')(), "ab99");
}

TEST(BindTest, KeepsArgumentsByValue) {
  std::string text = "a";
  const auto bound = Bind(Join, text);
  text = "changed";
  EXPECT_EQ(bound("b", 1), "ab1");
}

TEST(BindTest, KeepsLiteralsOfGenericLambdasAsStrings) {
  const auto bound =
      Bind([](const auto& a, int n) { return a.size() + n; }, "text");
  EXPECT_EQ(bound(1), 5u);
}

TEST(BindTest, BindsAnyCallableThatTravels) {
  EXPECT_EQ(Bind(&Counter::Plus, Counter{40})(2), 42);
  EXPECT_EQ(Bind(Scale{2}, 21)(), 42);
  EXPECT_EQ(Bind([](int a, int b) { return a - b; }, 44)(2), 42);
}

TEST(BindTest, CopyInAnotherProcessDoesTheSame) {
  EXPECT_EQ((*RoundTrip(Bind(Join, "a", "b")))(1), "ab1");
  EXPECT_EQ((*RoundTrip(Bind(&Counter::Plus, Counter{40})))(2), 42);
  EXPECT_EQ((*RoundTrip(Bind(Scale{2})))(21), 42);
  EXPECT_EQ((*RoundTrip(Bind(Bind(Join, "a"), std::string("b"))))(1), "ab1");
}

TEST(BindTest, CutShortIsDataLoss) {
  const auto bound = Bind(Scale{2}, 21);
  using Bound = std::remove_const_t<decltype(bound)>;
  const absl::StatusOr<Parcel> parcel = Pack(bound);
  ASSERT_THAT(parcel, IsOk());
  for (size_t size = 0; size < parcel->bytes.size(); ++size) {
    EXPECT_THAT(Unpack<Bound>(parcel->bytes.substr(0, size)),
                StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
}

}  // namespace
}  // namespace mp
