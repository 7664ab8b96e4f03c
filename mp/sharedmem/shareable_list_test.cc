#include "mp/sharedmem/shareable_list.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sharedmem/shareable_item.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

using Items = std::vector<ShareableItem>;

ShareableList MakeList(const Items& items,
                       const ShareableList::Options& options = {}) {
  absl::StatusOr<ShareableList> list = ShareableList::Create(items, options);
  MP_CHECK_OK(list.status());
  return *std::move(list);
}

Items Mixed() {
  return {"howdy", ShareableBytes{"HoWdY"}, -273.154, 100, {}, true, 42};
}

class ShareableListTravelTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ShareableListTravelTest, AllStartMethods);

TEST(ShareableListTest, HasItsItemsByPythonsIndices) {
  const ShareableList list = MakeList(Mixed());
  EXPECT_EQ(list.size(), 7);
  EXPECT_THAT(list.Items(), IsOkAndHolds(Mixed()));
  EXPECT_THAT(list.At(-7), IsOkAndHolds(ShareableItem("howdy")));
  EXPECT_THAT(list.At(-1), IsOkAndHolds(ShareableItem(42)));
  EXPECT_THAT(list.Format(), IsOkAndHolds("8s8sdqxxxxxx?xxxxxxxx?q"));
}

TEST(ShareableListTest, IndexMustBeInTheList) {
  const ShareableList list = MakeList(Mixed());
  for (const int64_t index : {int64_t{7}, int64_t{-8}, INT64_MAX, INT64_MIN}) {
    EXPECT_THAT(list.At(index), StatusIs(absl::StatusCode::kOutOfRange,
                                         HasSubstr("out of range")));
    EXPECT_THAT(list.Set(index, 1), StatusIs(absl::StatusCode::kOutOfRange));
  }
}

TEST(ShareableListTest, ItemsChangeTheirTypeInPlace) {
  const ShareableList list = MakeList(Mixed());
  for (const ShareableItem& value :
       Items{1.5, "12345678", {}, ShareableBytes{"\xff"}, false, -1, ""}) {
    for (int64_t i = 0; i < list.size(); ++i) {
      ASSERT_THAT(list.Set(i, value), IsOk());
      EXPECT_THAT(list.At(i), IsOkAndHolds(value));
    }
  }
  EXPECT_THAT(list.Format(), IsOkAndHolds("8s8s8s8s8s8s8s"));
}

TEST(ShareableListTest, TextMustFitIntoItsPlace) {
  const ShareableList list = MakeList({"howdy", 1, "123456789"});
  constexpr auto kCode = absl::StatusCode::kInvalidArgument;
  constexpr char kText[] = "exceeds available storage";
  EXPECT_THAT(list.Set(0, "123456789"), StatusIs(kCode, HasSubstr(kText)));
  EXPECT_THAT(list.Set(1, ShareableBytes{"123456789"}), StatusIs(kCode));
  EXPECT_THAT(list.Set(2, std::string(16, 'x')), IsOk());
  EXPECT_THAT(list.Set(2, std::string(17, 'x')), StatusIs(kCode));
  EXPECT_THAT(list.Items(),
              IsOkAndHolds(Items{"howdy", 1, std::string(16, 'x')}));
}

TEST(ShareableListTest, CountsAndFindsAsPythonDoes) {
  const ShareableList list = MakeList({1, 1.0, true, "1", {}, 1, 0.0});
  EXPECT_THAT(list.Count(1), IsOkAndHolds(4));
  EXPECT_THAT(list.Count(true), IsOkAndHolds(4));
  EXPECT_THAT(list.Count(false), IsOkAndHolds(1));
  EXPECT_THAT(list.Count(ShareableBytes{"1"}), IsOkAndHolds(0));
  EXPECT_THAT(list.Index("1"), IsOkAndHolds(3));
  EXPECT_THAT(list.Index({}), IsOkAndHolds(4));
  EXPECT_THAT(list.Index(2), StatusIs(absl::StatusCode::kNotFound));
}

TEST(ShareableItemTest, NumbersAreComparedExactly) {
  const int64_t large = (int64_t{1} << 53) + 1;
  EXPECT_FALSE(PythonEqual(large, std::ldexp(1.0, 53)));
  EXPECT_TRUE(PythonEqual(large - 1, std::ldexp(1.0, 53)));
  EXPECT_FALSE(PythonEqual(INT64_MAX, std::ldexp(1.0, 63)));
  EXPECT_TRUE(PythonEqual(INT64_MIN, -std::ldexp(1.0, 63)));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(PythonEqual(nan, nan));
  EXPECT_FALSE(PythonEqual(0, nan));
  EXPECT_FALSE(PythonEqual(0, {}));
}

TEST(ShareableListTest, EmptyListIsOne) {
  const ShareableList list = MakeList({});
  EXPECT_EQ(list.size(), 0);
  EXPECT_EQ(list.shm().size(), 16);
  EXPECT_THAT(list.Format(), IsOkAndHolds(""));
  EXPECT_THAT(list.At(0), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(ShareableListTest, DuplicateIsItsOwn) {
  const ShareableList list = MakeList(Mixed(), {.named = true});
  const auto copy = list.Duplicate({.named = true});
  ASSERT_THAT(copy, IsOk());
  EXPECT_NE(copy->shm().name(), list.shm().name());
  ASSERT_THAT(list.Set(0, "other"), IsOk());
  EXPECT_THAT(copy->Items(), IsOkAndHolds(Mixed()));
  EXPECT_THAT(list.shm().Unlink(), IsOk());
  EXPECT_THAT(copy->shm().Unlink(), IsOk());
}

TEST(ShareableListTest, SecondHandleShowsTheSame) {
  const ShareableList list = MakeList(Mixed(), {.named = true});
  const auto second = ShareableList::Open(list.shm().name());
  ASSERT_THAT(second, IsOk());
  ASSERT_THAT(second->Set(1, "new"), IsOk());
  EXPECT_THAT(list.At(1), IsOkAndHolds(ShareableItem("new")));

  const auto reader =
      ShareableList::Open(list.shm().name(), {.read_only = true});
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT(reader->At(1), IsOkAndHolds(ShareableItem("new")));
  EXPECT_THAT(reader->Set(1, "x"),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(list.shm().Unlink(), IsOk());
}

TEST(ShareableListTest, BlockOfSomethingElseIsRefused) {
  const auto block = SharedMemory::From(std::string(4096, '\x7f'));
  ASSERT_THAT(block, IsOk());
  EXPECT_THAT(ShareableList::FromBlock(*block),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ShareableList::FromBlock(SharedMemory()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_P(ShareableListTravelTest, ChangesAreSeenByTheOther) {
  for (const bool named : {false, true}) {
    const ShareableList list = MakeList(Mixed(), {.named = named});
    EXPECT_EQ(Run(
                  [](ShareableList list) -> absl::Status {
                    MP_ASSIGN_OR_RETURN(const Items items, list.Items());
                    if (items != Mixed()) return absl::InternalError("what?");
                    return list.Set(-1, "child");
                  },
                  list),
              0);
    EXPECT_THAT(list.At(6), IsOkAndHolds(ShareableItem("child")));
    EXPECT_EQ(list.shm().Unlink().ok(), named);
  }
}

TEST_P(ShareableListTravelTest, OneThatIsUnlinkedDoesNotArrive) {
  const ShareableList list = MakeList(Mixed(), {.named = true});
  ASSERT_THAT(list.shm().Unlink(), IsOk());
  EXPECT_THAT(ShareableList::Open(list.shm().name()),
              StatusIs(absl::StatusCode::kNotFound));
  Process process(
      options(), [](ShareableList) {}, list);
  const absl::Status started = process.Start();  // a thread sees it at once
  if (!started.ok()) {
    EXPECT_THAT(started, StatusIs(absl::StatusCode::kNotFound));
    return;
  }
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_NE(process.exitcode(), 0);
}

}  // namespace
}  // namespace mp
