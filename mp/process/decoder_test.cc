#include "mp/process/decoder.h"

#include <fcntl.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"
#include "mp/process/travel.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {

// A tower of values, each of which lies in the one above it: a byte 1 for each
// and a 0 at last.
struct Tower {
  int floors = 0;
};

template <>
struct Serializer<Tower> {
  static void Encode(const Tower&, Encoder& encoder) {
    encoder.Fail(absl::UnimplementedError("not needed"));
  }
  static absl::StatusOr<Tower> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const uint64_t more, decoder.ReadNumber());
    if (more == 0) return Tower{1};
    MP_ASSIGN_OR_RETURN(const Tower rest, decoder.Read<Tower>());
    return Tower{rest.floors + 1};
  }
};

namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::Field;
using ::testing::HasSubstr;

Fd OpenNull() { return Fd(open("/dev/null", O_RDWR | O_CLOEXEC)); }

Parcel ParcelWithHandles(std::string bytes, int handles) {
  Parcel parcel = {std::move(bytes), {}};
  for (int i = 0; i < handles; ++i) parcel.handles.push_back(OpenNull());
  return parcel;
}

Parcel ParcelOf(std::string bytes) { return {std::move(bytes), {}}; }

// The bytes of a Tower.
std::string TowerBytes(int floors) {
  return std::string(floors - 1, '\1') + '\0';
}

class DecoderTest : public ::testing::Test {
 protected:
  absl::StatusOr<uint64_t> ReadNumber(std::string bytes) {
    return Decoder(ParcelOf(std::move(bytes))).ReadNumber();
  }

 private:
  LeakCheck leak_check_;
};

TEST_F(DecoderTest, ReadsWhatWasWrittenInOrder) {
  Encoder encoder;
  encoder.WriteCount(300);
  encoder.WriteString("abc");
  encoder.WriteRaw("xy", 2);
  Decoder decoder(*std::move(encoder).Finish());

  EXPECT_THAT(decoder.ReadNumber(), IsOkAndHolds(300u));
  EXPECT_THAT(decoder.ReadString(), IsOkAndHolds("abc"));
  EXPECT_EQ(decoder.bytes_left(), 2u);
  EXPECT_THAT(decoder.ExpectEnd(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("2 bytes")));
  char text[2];
  EXPECT_THAT(decoder.ReadRaw(text, 2), IsOk());
  EXPECT_EQ(std::string(text, 2), "xy");
  EXPECT_THAT(decoder.ExpectEnd(), IsOk());
}

TEST_F(DecoderTest, RefusesMoreBytesThanThereAre) {
  Decoder decoder(ParcelOf("abc"));
  char text[4];
  EXPECT_THAT(decoder.ReadRaw(text, 4), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(decoder.ReadRaw(text, 3), IsOk());
  EXPECT_THAT(decoder.ReadRaw(text, 1), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(decoder.ReadRaw(nullptr, 0), IsOk());
}

TEST_F(DecoderTest, NumbersHave64Bits) {
  EXPECT_THAT(ReadNumber("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
              IsOkAndHolds(UINT64_MAX));
  EXPECT_THAT(ReadNumber("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("64 bits")));
  EXPECT_THAT(ReadNumber(std::string(10, '\xff')),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ReadNumber(std::string(10, '\x80') + '\0'),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ReadNumber("\xff"), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ReadNumber(""), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(DecoderTest, CountIsAtMostTheBytesLeft) {
  EXPECT_THAT(Decoder(ParcelOf("\3abc")).ReadCount(), IsOkAndHolds(3u));
  EXPECT_THAT(Decoder(ParcelOf("\4abc")).ReadCount(),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("a count of 4 in 3 bytes")));
  EXPECT_THAT(Decoder(ParcelOf("\4abc")).ReadString(),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(DecoderTest, HandlesAreTakenInAnyOrder) {
  Parcel parcel = ParcelWithHandles("\1", 2);
  parcel.bytes += '\0';
  const int first = parcel.handles[0].get();
  const int second = parcel.handles[1].get();
  Decoder decoder(std::move(parcel));
  EXPECT_EQ(decoder.ReadHandle()->get(), second);
  EXPECT_EQ(decoder.ReadHandle()->get(), first);
}

TEST_F(DecoderTest, HandleIsTakenOnce) {
  Decoder decoder(ParcelWithHandles(std::string(2, '\0'), 1));
  EXPECT_THAT(decoder.ReadHandle(), IsOk());
  EXPECT_THAT(decoder.ReadHandle(), StatusIs(absl::StatusCode::kDataLoss,
                                             HasSubstr("descriptor 0 of 1")));
}

TEST_F(DecoderTest, RefusesHandlesThatAreNotThere) {
  EXPECT_THAT(
      Decoder(ParcelWithHandles("\1", 1)).ReadHandle(),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("descriptor 1 of 1")));
  const std::string huge = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
  EXPECT_THAT(Decoder(ParcelWithHandles(huge, 1)).ReadHandle(),
              StatusIs(absl::StatusCode::kDataLoss));
}

// The fixture sees to it that they are closed.
TEST_F(DecoderTest, UnreadHandlesCloseWithTheDecoder) {
  Decoder decoder(ParcelWithHandles("\1", 3));
  EXPECT_THAT(decoder.ReadHandle(), IsOk());
}

TEST_F(DecoderTest, RefusesValuesThatAreNestedTooDeep) {
  Decoder decoder(ParcelOf(TowerBytes(kMaxNesting) + TowerBytes(kMaxNesting) +
                           TowerBytes(kMaxNesting + 1)));
  EXPECT_THAT(decoder.Read<Tower>(),
              IsOkAndHolds(Field(&Tower::floors, kMaxNesting)));
  EXPECT_THAT(decoder.Read<Tower>(), IsOk());
  EXPECT_THAT(decoder.Read<Tower>(),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("more than 200 levels deep")));
}

TEST_F(DecoderTest, NestingOfAnErrorDoesNotAddUp) {
  Decoder decoder(ParcelOf(TowerBytes(kMaxNesting + 1) + TowerBytes(1)));
  EXPECT_THAT(decoder.Read<Tower>(), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(decoder.Read<Tower>(), IsOk());
  EXPECT_THAT(decoder.Read<Tower>(), IsOk());
}

}  // namespace
}  // namespace mp
