#include "mp/process/internal/serialize_absl.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/container/node_hash_map.h"
#include "absl/container/node_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/utility/utility.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/internal/round_trip.h"
#include "mp/process/internal/serialize_std.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::Pack;
using ::mp::testing::StatusIs;
using ::mp::testing::Travels;
using ::mp::testing::Unpack;
using ::testing::HasSubstr;

TEST(SerializeAbslTest, CordsTravel) {
  absl::Cord cord("in");
  EXPECT_TRUE(Travels(cord));
  cord.Append(absl::MakeCordFromExternal(" several", [] {}));
  cord.Append(absl::MakeCordFromExternal(" chunks", [] {}));
  EXPECT_TRUE(Travels(cord));
  EXPECT_TRUE(Travels(absl::Cord()));
}

TEST(SerializeAbslTest, ContainersTravel) {
  EXPECT_TRUE(Travels(absl::InlinedVector<int, 2>{1, 2, 3}));
  EXPECT_TRUE(Travels(absl::InlinedVector<std::string, 2>{"a"}));
  EXPECT_TRUE(Travels(absl::flat_hash_set<std::string>{"a", "b"}));
  EXPECT_TRUE(
      Travels(absl::flat_hash_map<std::string, int>{{"a", 1}, {"b", 2}}));
  EXPECT_TRUE(Travels(absl::node_hash_set<int>{1, 2}));
  EXPECT_TRUE(Travels(absl::node_hash_map<int, std::string>{{1, "a"}}));
  EXPECT_TRUE(Travels(absl::btree_set<int>{2, 1}));
  EXPECT_TRUE(Travels(absl::btree_multiset<int>{1, 1}));
  EXPECT_TRUE(Travels(absl::btree_map<int, std::string>{{1, "a"}}));
  EXPECT_TRUE(Travels(absl::btree_multimap<int, int>{{1, 1}, {1, 2}}));
}

TEST(SerializeAbslTest, TimesTravel) {
  const absl::Duration tick = absl::Nanoseconds(1) / 4;
  const absl::Duration largest = absl::Seconds(INT64_MAX) + absl::Seconds(1);
  ASSERT_EQ(largest, absl::InfiniteDuration());
  for (const absl::Duration duration :
       {absl::ZeroDuration(), tick, absl::Seconds(1.5), absl::Hours(1) - tick,
        absl::Seconds(INT64_MAX), absl::Seconds(INT64_MAX) + 3 * tick,
        absl::InfiniteDuration()}) {
    EXPECT_TRUE(Travels(duration)) << duration;
    EXPECT_TRUE(Travels(-duration)) << -duration;
    EXPECT_TRUE(Travels(absl::UnixEpoch() + duration)) << duration;
    EXPECT_TRUE(Travels(absl::UnixEpoch() - duration)) << duration;
  }
  EXPECT_TRUE(Travels(absl::Seconds(INT64_MIN)));
  EXPECT_TRUE(Travels(absl::Seconds(INT64_MIN) + tick));
  EXPECT_TRUE(Travels(absl::InfiniteFuture()));
  EXPECT_TRUE(Travels(absl::InfinitePast()));
  EXPECT_TRUE(Travels(absl::UniversalEpoch()));
}

TEST(SerializeAbslTest, RefusesForgedDurations) {
  const std::string kind_is_3(1 + 8 + 8, '\3');
  EXPECT_THAT(Unpack<absl::Duration>(kind_is_3),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("Duration")));
  const std::string ticks_of_years = std::string(1 + 8, '\0') + "longlong";
  EXPECT_THAT(Unpack<absl::Duration>(ticks_of_years),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("Duration")));
}

absl::Status StatusWithPayloads() {
  absl::Status status = absl::DataLossError("with payloads");
  status.SetPayload("mp/one", absl::Cord("1"));
  status.SetPayload("mp/none", absl::Cord());
  return status;
}

TEST(SerializeAbslTest, StatusTravels) {
  EXPECT_TRUE(Travels(absl::OkStatus()));
  EXPECT_TRUE(Travels(absl::NotFoundError("")));
  EXPECT_TRUE(Travels(absl::UnauthenticatedError("who?")));
  EXPECT_TRUE(Travels(StatusWithPayloads()));
}

TEST(SerializeAbslTest, StatusTravelsInOtherValues) {
  using absl::Status;
  EXPECT_TRUE(
      Travels(std::vector<Status>{absl::OkStatus(), StatusWithPayloads()}));
  EXPECT_TRUE(Travels(std::array<Status, 1>{absl::AbortedError("a")}));
  EXPECT_TRUE(Travels(std::pair<Status, int>{absl::AbortedError("a"), 1}));
  EXPECT_TRUE(Travels(std::tuple<Status, Status>{absl::AbortedError("a"), {}}));
  EXPECT_TRUE(Travels(std::optional<Status>(absl::AbortedError("a"))));
  EXPECT_TRUE(Travels(std::variant<int, Status>(absl::AbortedError("a"))));
  EXPECT_TRUE(Travels(std::map<int, Status>{{1, absl::AbortedError("a")}}));
}

TEST(SerializeAbslTest, StatusOrTravels) {
  EXPECT_TRUE(Travels(absl::StatusOr<int>(1)));
  EXPECT_TRUE(Travels(absl::StatusOr<std::string>(StatusWithPayloads())));
  using Twice = absl::StatusOr<absl::StatusOr<std::string>>;
  EXPECT_TRUE(Travels(Twice(absl::StatusOr<std::string>("a"))));
  EXPECT_TRUE(Travels(Twice(absl::AbortedError("the outer"))));
  EXPECT_TRUE(Travels(Twice(absl::in_place, absl::AbortedError("the inner"))));
  EXPECT_TRUE(
      Travels(std::vector<absl::StatusOr<int>>{1, absl::AbortedError("a")}));
}

TEST(SerializeAbslTest, RefusesForgedStatuses) {
  EXPECT_THAT(
      Unpack<absl::Status>("\x11"),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("17 is no absl::")));
  EXPECT_THAT(Unpack<absl::StatusOr<int>>("\x11"),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST(SerializeAbslTest, RefusesMorePayloadsThanAReceiverCouldSort) {
  absl::Status status = absl::NotFoundError("m");
  for (int i = 0; i <= 1000; ++i) {
    status.SetPayload(absl::StrCat("mp/", i), absl::Cord());
  }
  EXPECT_THAT(Pack(status),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1001")));
  // Code 5, "m", 1001 payloads, and enough bytes for them.
  EXPECT_THAT(
      Unpack<absl::Status>("\x05\x01m\xe9\x07" + std::string(2002, 'x')),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("1001")));
}

}  // namespace
}  // namespace mp
