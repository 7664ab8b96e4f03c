#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

// Messages of bytes: into a buffer, and larger than 2 GiB.
namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr absl::Duration kShort = absl::Milliseconds(20);

class ConnectionBytesTest : public ::testing::Test {
 protected:
  ConnectionBytesTest() {
    auto ends = Pipe();
    MP_CHECK_OK(ends);
    a_ = std::move(ends->first);
    b_ = std::move(ends->second);
  }

  absl::string_view Buffer(size_t size) const { return {buffer_.data(), size}; }

  Connection a_;
  Connection b_;
  std::array<char, 8> buffer_ = {};
};

// CPython: test_connection, of recv_bytes_into()
TEST_F(ConnectionBytesTest, GoIntoTheFrontOfABuffer) {
  ASSERT_THAT(a_.SendBytes("hello"), IsOk());
  EXPECT_THAT(b_.RecvBytesInto(absl::MakeSpan(buffer_), kLong),
              IsOkAndHolds(5));
  EXPECT_EQ(Buffer(8), absl::string_view("hello\0\0\0", 8));
  ASSERT_THAT(a_.SendBytes("abc"), IsOk());
  EXPECT_THAT(b_.RecvBytesInto(absl::MakeSpan(buffer_).subspan(5), kLong),
              IsOkAndHolds(3));
  EXPECT_EQ(Buffer(8), "helloabc");
  ASSERT_THAT(a_.SendBytes(""), IsOk());
  EXPECT_THAT(b_.RecvBytesInto({}, kLong), IsOkAndHolds(0));
  ASSERT_THAT(a_.SendBytes("12345678"), IsOk());
  EXPECT_THAT(b_.RecvBytesInto(absl::MakeSpan(buffer_), kLong),
              IsOkAndHolds(8));
}

// CPython: test_connection, of BufferTooShort
TEST_F(ConnectionBytesTest, BufferThatIsTooShortLosesNothing) {
  for (const size_t size : {9, 5000, 3'000'000}) {
    const std::string sent(size, 'x');
    Child sender = RunInChild([&] { return a_.SendBytes(sent); });
    const absl::StatusOr<size_t> got =
        b_.RecvBytesInto(absl::MakeSpan(buffer_), kLong);
    EXPECT_THAT(sender.Wait(), ExitedWith(0));
    ASSERT_THAT(got, StatusIs(absl::StatusCode::kInvalidArgument,
                              AllOf(HasSubstr(absl::StrCat(size, " bytes")),
                                    HasSubstr("room for 8"))));
    const auto message = Connection::MessageOf(got.status());
    ASSERT_TRUE(message.has_value());
    EXPECT_TRUE(*message == sent);
  }
  EXPECT_EQ(Connection::MessageOf(absl::OkStatus()), std::nullopt);
  ASSERT_THAT(a_.SendBytes("next"), IsOk());
  EXPECT_THAT(b_.RecvBytesInto(absl::MakeSpan(buffer_), kLong),
              IsOkAndHolds(4));
}

TEST_F(ConnectionBytesTest, LimitHoldsForABufferToo) {
  ASSERT_THAT(a_.SendBytes("12345"), IsOk());
  EXPECT_THAT(b_.RecvBytesInto(absl::MakeSpan(buffer_), kLong, /*max_bytes=*/4),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("5")));
  EXPECT_THAT(b_.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
}

TEST_F(ConnectionBytesTest, HalfAMessageSurvivesItsBuffer) {
  ASSERT_THAT(WriteAll(a_.fileno(), absl::string_view("\0\0\0\5he", 6)),
              IsOk());
  {
    std::vector<char> gone(8);
    EXPECT_THAT(b_.RecvBytesInto(absl::MakeSpan(gone), kShort),
                StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  }
  ASSERT_THAT(WriteAll(a_.fileno(), "l"), IsOk());
  EXPECT_THAT(b_.RecvBytes(kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  ASSERT_THAT(WriteAll(a_.fileno(), "lo"), IsOk());
  EXPECT_THAT(b_.RecvBytesInto(absl::MakeSpan(buffer_), kLong),
              IsOkAndHolds(5));
  EXPECT_EQ(Buffer(5), "hello");
}

// A span of addresses that all lie in the same MiB of memory.
class ManyTimesTheSame {
 public:
  explicit ManyTimesTheSame(size_t size) : size_(size) {
    constexpr size_t kPiece = 1 << 20;
    const Fd file(memfd_create("piece", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(file.get(), kPiece), 0);
    start_ = static_cast<char*>(
        mmap(nullptr, Whole(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t at = 0; at < Whole(); at += kPiece) {
      EXPECT_NE(mmap(start_ + at, kPiece, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED, file.get(), 0),
                MAP_FAILED);
    }
  }
  ~ManyTimesTheSame() { munmap(start_, Whole()); }
  ManyTimesTheSame(const ManyTimesTheSame&) = delete;
  ManyTimesTheSame& operator=(const ManyTimesTheSame&) = delete;

  absl::Span<char> bytes() const { return {start_, size_}; }

 private:
  size_t Whole() const { return (size_ + 0xfffff) & ~size_t{0xfffff}; }

  const size_t size_;
  char* start_;
};

// Both in a full test only: 2 GiB take seconds.
TEST_F(ConnectionBytesTest, MoreThanTwoGibibytesGoBetweenProcesses) {
  if (!testing::IsFullTest()) GTEST_SKIP() << "only with MP_TEST_FULL=1";
  constexpr size_t kSize = (size_t{1} << 31) + 5;
  const ManyTimesTheSame memory(kSize);
  Child sender = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(a_.SendBytes({memory.bytes().data(), kSize}));
    return a_.SendBytes("next");
  });
  const ManyTimesTheSame here(kSize);
  EXPECT_THAT(b_.RecvBytesInto(here.bytes(), absl::Minutes(5)),
              IsOkAndHolds(kSize));
  EXPECT_THAT(b_.RecvBytes(kLong), IsOkAndHolds("next"));
  EXPECT_THAT(sender.Wait(), ExitedWith(0));
}

TEST_F(ConnectionBytesTest, MoreThanTwoGibibytesAreTheLongFormOnTheWire) {
  if (!testing::IsFullTest()) GTEST_SKIP() << "only with MP_TEST_FULL=1";
  constexpr size_t kSize = size_t{1} << 31;
  const ManyTimesTheSame memory(kSize);
  Child sender = RunInChild([&] {
    return a_.SendBytes({memory.bytes().data(), kSize});
  });
  a_.Close();
  // A peer that keeps nothing of it.
  std::string piece(1 << 20, '\0');
  ASSERT_THAT(ReadUpTo(b_.fileno(), piece.data(), 12), IsOkAndHolds(12));
  EXPECT_EQ(piece.substr(0, 12),
            std::string("\xff\xff\xff\xff\0\0\0\0\x80\0\0\0", 12));
  size_t count = 0;
  absl::StatusOr<size_t> got;
  while ((got = ReadUpTo(b_.fileno(), piece.data(), piece.size())).ok() &&
         *got > 0) {
    count += *got;
  }
  EXPECT_EQ(count, kSize);
  EXPECT_THAT(sender.Wait(), ExitedWith(0));
}

TEST_F(ConnectionBytesTest, LongFormIsReadWhateverTheLength) {
  ASSERT_THAT(
      WriteAll(a_.fileno(),
               absl::string_view("\xff\xff\xff\xff\0\0\0\0\0\0\0\5hello", 17)),
      IsOk());
  EXPECT_THAT(b_.RecvBytes(kLong), IsOkAndHolds("hello"));
  ASSERT_THAT(
      WriteAll(a_.fileno(),
               absl::string_view("\xff\xff\xff\xff\0\0\0\0\0\0\0\5again", 17)),
      IsOk());
  EXPECT_THAT(b_.RecvBytesInto(absl::MakeSpan(buffer_), kLong),
              IsOkAndHolds(5));
}

}  // namespace
}  // namespace mp
