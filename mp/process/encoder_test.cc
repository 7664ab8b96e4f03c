#include "mp/process/encoder.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/process/parcel.h"
#include "mp/process/travel.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {

// A tower of values, each of which lies in the one above it.
struct Tower {
  int floors = 0;
};

template <>
struct Serializer<Tower> {
  static void Encode(const Tower& tower, Encoder& encoder) {
    encoder.WriteCount(tower.floors);
    if (tower.floors > 1) encoder.Write(Tower{tower.floors - 1});
  }
  static absl::StatusOr<Tower> Decode(Decoder&) {
    return absl::UnimplementedError("not needed");
  }
};

namespace {

using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Fd OpenNull() { return Fd(open("/dev/null", O_RDWR | O_CLOEXEC)); }

bool IsSameFile(int a, int b) {
  struct stat of_a, of_b;
  return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 &&
         of_a.st_ino == of_b.st_ino && of_a.st_dev == of_b.st_dev;
}

class EncoderTest : public ::testing::Test {
 protected:
  std::string CountBytes(uint64_t count) {
    Encoder encoder;
    encoder.WriteCount(count);
    return std::move(encoder).Finish()->bytes;
  }

 private:
  LeakCheck leak_check_;
};

TEST_F(EncoderTest, ParcelOfNothingIsEmpty) {
  const absl::StatusOr<Parcel> parcel = Encoder().Finish();
  ASSERT_THAT(parcel, IsOk());
  EXPECT_THAT(parcel->bytes, IsEmpty());
  EXPECT_THAT(parcel->handles, IsEmpty());
}

TEST_F(EncoderTest, CountsAreVarints) {
  EXPECT_EQ(CountBytes(0), std::string(1, '\0'));
  EXPECT_EQ(CountBytes(0x7f), "\x7f");
  EXPECT_EQ(CountBytes(0x80), "\x80\x01");
  EXPECT_EQ(CountBytes(0x3fff), "\xff\x7f");
  EXPECT_EQ(CountBytes(0x4000), "\x80\x80\x01");
  EXPECT_EQ(CountBytes(UINT64_MAX), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}

TEST_F(EncoderTest, StringIsItsSizeAndItsBytes) {
  Encoder encoder;
  encoder.WriteString("abc");
  encoder.WriteString("");
  encoder.WriteRaw("xy", 2);
  encoder.WriteRaw(nullptr, 0);
  EXPECT_EQ(std::move(encoder).Finish()->bytes, std::string("\3abc\0xy", 7));
}

TEST_F(EncoderTest, FirstErrorSticks) {
  Encoder encoder;
  encoder.WriteString("before");
  encoder.Fail(absl::InternalError("the first"));
  encoder.Fail(absl::AbortedError("the second"));
  encoder.Write(Tower{2});
  encoder.WriteCount(1);
  encoder.WriteHandle(-1);
  EXPECT_THAT(std::move(encoder).Finish(),
              StatusIs(absl::StatusCode::kInternal, "the first"));
}

TEST_F(EncoderTest, HandleIsADuplicate) {
  const Fd null = OpenNull();
  Encoder encoder;
  encoder.WriteHandle(null.get());
  encoder.WriteHandle(null.get());
  const absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
  ASSERT_THAT(parcel, IsOk());
  EXPECT_EQ(parcel->bytes, std::string("\0\1", 2));
  ASSERT_THAT(parcel->handles, SizeIs(2));
  EXPECT_NE(parcel->handles[0].get(), null.get());
  EXPECT_TRUE(IsSameFile(parcel->handles[0].get(), null.get()));
  EXPECT_TRUE(IsSameFile(parcel->handles[1].get(), null.get()));
  EXPECT_NE(fcntl(parcel->handles[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(EncoderTest, HandlesCloseWithAnUnfinishedEncoder) {
  const Fd null = OpenNull();
  Encoder encoder;
  encoder.WriteHandle(null.get());
}

TEST_F(EncoderTest, HandlesCloseAfterAnError) {
  const Fd null = OpenNull();
  Encoder encoder;
  encoder.WriteHandle(null.get());
  encoder.Fail(absl::InternalError("no"));
  EXPECT_THAT(std::move(encoder).Finish(),
              StatusIs(absl::StatusCode::kInternal));
}

TEST_F(EncoderTest, ClosedHandleIsAnError) {
  Encoder encoder;
  encoder.WriteHandle(-1);
  EXPECT_THAT(std::move(encoder).Finish(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(EncoderTest, RefusesValuesThatAreNestedTooDeep) {
  Encoder just_fits;
  just_fits.Write(Tower{kMaxNesting});
  just_fits.Write(Tower{kMaxNesting});
  EXPECT_THAT(std::move(just_fits).Finish(), IsOk());

  Encoder too_deep;
  too_deep.Write(Tower{kMaxNesting + 1});
  EXPECT_THAT(std::move(too_deep).Finish(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("more than 200 levels deep")));
}

TEST_F(EncoderTest, KnowsItsReceiver) {
  EXPECT_EQ(Encoder().receiver(), Encoder::Receiver::kAny);
  EXPECT_EQ(Encoder(Encoder::Receiver::kNewProcess).receiver(),
            Encoder::Receiver::kNewProcess);
}

}  // namespace
}  // namespace mp
