#include "mp/pool/internal/packed_items.h"

#include <fcntl.h>

#include <cstdint>
#include <random>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/process/parcel.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;

Parcel WithHandle(std::string bytes) {
  Parcel parcel{std::move(bytes), {}};
  parcel.handles.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return parcel;
}

TEST(PackedItemsTest, ARunHasWhatItsItemsWere) {
  PackedItems items;
  for (int i = 0; i < 100; ++i) {
    items.Add({std::string(static_cast<size_t>(i), 'x'), {}});
  }
  for (const ItemRange range : {ItemRange{0, 100}, ItemRange{40, 60},
                                ItemRange{0, 1}, ItemRange{99, 100}}) {
    std::string packed;
    auto run = PackedRun::Open({std::string(items.Pack(range, packed)), {}},
                               range.size());
    ASSERT_THAT(run, IsOk());
    for (uint64_t i = 0; i < range.size(); ++i) {
      EXPECT_EQ(run->Take(i).bytes.size(), range.first + i);
    }
  }
}

TEST(PackedItemsTest, FitsWhatThereIsRoomFor) {
  PackedItems items;
  for (int i = 0; i < 10; ++i) items.Add({std::string(96, 'x'), {}});
  items.Add({std::string(1000, 'x'), {}});
  EXPECT_EQ(items.Fitting({0, 10}, 500), 5u);
  EXPECT_EQ(items.Fitting({0, 10}, 499), 4u);
  EXPECT_EQ(items.Fitting({0, 3}, 500), 3u);
  EXPECT_EQ(items.Fitting({0, 10}, 0), 1u);
  EXPECT_EQ(items.Fitting({10, 11}, 500), 1u);
}

TEST(PackedItemsTest, OneWithDescriptorsGoesAlone) {
  PackedItems items;
  items.Add({"a", {}});
  items.Add({"b", {}});
  items.Add(WithHandle("c"));
  items.Add({"d", {}});
  EXPECT_EQ(items.Fitting({0, 4}, 500), 2u);
  EXPECT_EQ(items.Fitting({2, 4}, 500), 1u);
  EXPECT_EQ(items.Fitting({3, 4}, 500), 1u);
  const size_t handles[] = {0, 0, 1, 0};
  for (uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(items.HandlesOf(i).size(), handles[i]) << i;
  }
}

TEST(PackedRunTest, RefusesWhatIsNotSoManyItems) {
  PackedItems items;
  for (int i = 0; i < 3; ++i) items.Add({"abc", {}});
  std::string packed;
  const std::string good(items.Pack({0, 3}, packed));
  EXPECT_THAT(PackedRun::Open({good, {}}, 3), IsOk());
  for (const uint64_t count :
       {uint64_t{0}, uint64_t{2}, uint64_t{4}, ~uint64_t{0}}) {
    EXPECT_THAT(PackedRun::Open({good, {}}, count),
                StatusIs(absl::StatusCode::kDataLoss))
        << count;
  }
  EXPECT_THAT(PackedRun::Open({"", {}}, 2),
              StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace mp::internal
