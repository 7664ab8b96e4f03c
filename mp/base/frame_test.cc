#include "mp/base/frame.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/signal_storm.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using testing::Child;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::RunInChild;
using testing::SignalStorm;
using testing::StatusIs;

constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;
constexpr absl::StatusCode kDeadlineExceeded =
    absl::StatusCode::kDeadlineExceeded;
constexpr absl::StatusCode kOutOfRange = absl::StatusCode::kOutOfRange;
constexpr absl::StatusCode kUnavailable = absl::StatusCode::kUnavailable;

constexpr uint64_t kAnySize = std::numeric_limits<uint64_t>::max();
const Deadline kNow(absl::ZeroDuration());
const Deadline kNever(absl::InfiniteDuration());

enum class Kind { kSocket, kPipe };

// What a frame promises on every kind of stream.
class FrameTest : public ::testing::TestWithParam<Kind> {
 protected:
  FrameTest() {
    int ends[2];
    EXPECT_EQ(GetParam() == Kind::kSocket
                  ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)
                  : pipe2(ends, O_CLOEXEC),
              0);
    reader_ = Fd(ends[0]);
    writer_ = Fd(ends[1]);
  }

  absl::Status Write(absl::string_view bytes,
                     const Deadline& deadline = kNever) {
    return WriteFrame(writer_.get(), bytes, {}, deadline, &cut_);
  }

  absl::StatusOr<std::string> Read(const Deadline& deadline = kNever,
                                   uint64_t max_bytes = kAnySize) {
    absl::StatusOr<FrameReader::Frame> frame =
        frames_.Read(reader_.get(), max_bytes, deadline);
    if (!frame.ok()) return frame.status();
    return frame->bytes;
  }

  // Writes bytes that are no frame, or a part of one.
  void WriteRaw(absl::string_view bytes) {
    EXPECT_THAT(WriteAll(writer_.get(), bytes), IsOk());
  }

  // Takes `size` bytes off the stream, whatever they are.
  std::string ReadRaw(size_t size) {
    std::string bytes(size, '\0');
    EXPECT_THAT(ReadUpTo(reader_.get(), bytes.data(), size),
                IsOkAndHolds(size));
    return bytes;
  }

  // Writes until the stream is full. Returns how many bytes it holds.
  size_t Fill() {
    const std::string page(4096, 'f');
    SetBlocking(false);
    while (write(writer_.get(), page.data(), page.size()) > 0) {
    }
    SetBlocking(true);
    return BytesToRead();
  }

  size_t BytesToRead() {
    int size = 0;
    EXPECT_EQ(ioctl(reader_.get(), FIONREAD, &size), 0);
    return size;
  }

  void SetBlocking(bool blocking) {
    EXPECT_EQ(fcntl(writer_.get(), F_SETFL, blocking ? 0 : O_NONBLOCK), 0);
  }

  testing::LeakCheck leak_check_;
  Fd reader_;
  Fd writer_;
  FrameReader frames_;
  bool cut_ = false;
};

// Returns bytes that tell their place.
std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>(i * 7 + i / 251);
  return bytes;
}

TEST_P(FrameTest, MessagesOfAnySizeArriveWholeAndInOrder) {
  const size_t kSizes[] = {0, 1, 16384, 70000, 5 << 20, 0, 3};
  Child child = RunInChild([&] {
    for (const size_t size : kSizes) EXPECT_THAT(Write(Pattern(size)), IsOk());
    return absl::OkStatus();
  });
  writer_.Close();
  for (const size_t size : kSizes) {
    const absl::StatusOr<std::string> bytes = Read();
    ASSERT_THAT(bytes, IsOk());
    EXPECT_TRUE(*bytes == Pattern(size)) << size;
  }
  EXPECT_THAT(Read(), StatusIs(kOutOfRange));
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_P(FrameTest, SignalsDoNotDisturbEitherEnd) {
  const std::string sent = Pattern(1 << 20);
  Child child = RunInChild([&]() -> absl::Status {
    const SignalStorm storm;
    return Write(sent);
  });
  writer_.Close();
  const SignalStorm storm;
  EXPECT_TRUE(Read().value_or("") == sent);
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_P(FrameTest, StreamsThatDoNotBlockAreWaitedFor) {
  const std::string sent = Pattern(1 << 20);
  EXPECT_EQ(fcntl(reader_.get(), F_SETFL, O_NONBLOCK), 0);
  SetBlocking(false);
  Child child = RunInChild([&] { return Write(sent); });
  EXPECT_TRUE(Read().value_or("") == sent);
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// The bytes on the stream.

TEST_P(FrameTest, HeaderIsTheLengthInFourBytesBigEndian) {
  ASSERT_THAT(Write(""), IsOk());
  EXPECT_EQ(ReadRaw(4), std::string("\0\0\0\0", 4));
  ASSERT_THAT(Write("abc"), IsOk());
  EXPECT_EQ(ReadRaw(7), std::string("\0\0\0\x03"
                                    "abc",
                                    7));
  ASSERT_THAT(Write(std::string(0x1234, 'x')), IsOk());
  EXPECT_EQ(ReadRaw(5), std::string("\0\0\x12\x34x", 5));
}

// A message of `size` bytes, all zero, that takes no memory.
class HugeMessage {
 public:
  explicit HugeMessage(size_t size)
      : size_(size),
        start_(mmap(nullptr, size, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    EXPECT_NE(start_, MAP_FAILED);
  }
  ~HugeMessage() { munmap(start_, size_); }
  absl::string_view bytes() const {
    return {static_cast<const char*>(start_), size_};
  }

 private:
  const size_t size_;
  void* const start_;
};

TEST_P(FrameTest, LengthsAboveTheLargestSignedOneTakeTwelveBytes) {
  EXPECT_THAT(Write(HugeMessage(0x7fffffff).bytes(), kNow),
              StatusIs(kDeadlineExceeded));
  EXPECT_EQ(ReadRaw(5), std::string("\x7f\xff\xff\xff\0", 5));
  ReadRaw(BytesToRead());
  EXPECT_THAT(Write(HugeMessage(0x80000000).bytes(), kNow),
              StatusIs(kDeadlineExceeded));
  EXPECT_EQ(ReadRaw(13),
            std::string("\xff\xff\xff\xff\0\0\0\0\x80\0\0\0\0", 13));
}

TEST_P(FrameTest, LongFormIsReadForAnyLength) {
  WriteRaw(
      std::string("\xff\xff\xff\xff\0\0\0\0\0\0\0\x03"
                  "abc",
                  15));
  EXPECT_THAT(Read(), IsOkAndHolds("abc"));
  WriteRaw(std::string("\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 12));
  EXPECT_THAT(Read(), IsOkAndHolds(""));
}

TEST_P(FrameTest, LongFormKeepsAllBitsOfTheLength) {
  WriteRaw("\xff\xff\xff\xff\x01\x23\x45\x67\x89\xab\xcd\xef");
  EXPECT_THAT(Read(kNever, 100),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr(absl::StrCat(0x0123456789abcdef))));
}

TEST_P(FrameTest, OtherNegativeLengthsAreDataLoss) {
  WriteRaw("\xff\xff\xff\xfe");
  EXPECT_THAT(Read(), StatusIs(kDataLoss, HasSubstr("-2")));
  frames_ = FrameReader();
  WriteRaw(absl::string_view("\x80\0\0\0", 4));
  EXPECT_THAT(Read(), StatusIs(kDataLoss, HasSubstr("-2147483648")));
}

// Sizes.

TEST_P(FrameTest, MaxBytesIsTheLargestMessage) {
  ASSERT_THAT(Write("abcd"), IsOk());
  EXPECT_THAT(Read(kNever, 4), IsOkAndHolds("abcd"));
  ASSERT_THAT(Write("abcde"), IsOk());
  EXPECT_THAT(Read(kNever, 4),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("5 bytes long, the limit is 4")));
}

TEST_P(FrameTest, FalseLengthTakesNoMemory) {
  // A mebibyte of mebibytes: there is not that much to take.
  WriteRaw(
      std::string("\xff\xff\xff\xff\0\0\x01\0\0\0\0\0"
                  "abc",
                  15));
  EXPECT_THAT(Read(kNow), StatusIs(kDeadlineExceeded));
  writer_.Close();
  EXPECT_THAT(Read(), StatusIs(kDataLoss));
}

// Deadlines of the reader.

TEST_P(FrameTest, ReadWaitsLongEnough) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(Read(Deadline(absl::Milliseconds(30))),
              StatusIs(kDeadlineExceeded));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(30));
  EXPECT_FALSE(frames_.MidFrame());
}

TEST_P(FrameTest, PastDeadlineTakesWhatIsThere) {
  ASSERT_THAT(Write("abc"), IsOk());
  EXPECT_THAT(Read(kNow), IsOkAndHolds("abc"));
}

TEST_P(FrameTest, MessageMayArriveByteByByte) {
  const std::string sent(
      "\xff\xff\xff\xff\0\0\0\0\0\0\0\x03"
      "abc",
      15);
  for (const char byte : sent) {
    EXPECT_THAT(Read(kNow), StatusIs(kDeadlineExceeded));
    WriteRaw(std::string(1, byte));
  }
  EXPECT_TRUE(frames_.MidFrame());
  EXPECT_THAT(Read(kNow), IsOkAndHolds("abc"));
  EXPECT_FALSE(frames_.MidFrame());
}

TEST_P(FrameTest, DeadlineInsideALargeMessageLosesNothing) {
  const std::string sent = Pattern(3 << 20);
  WriteRaw(absl::string_view("\0\x30\0\0", 4));
  for (size_t done = 0; done < sent.size(); done += 1 << 15) {
    EXPECT_THAT(Read(kNow), StatusIs(kDeadlineExceeded));
    WriteRaw(absl::string_view(sent).substr(done, 1 << 15));
  }
  EXPECT_TRUE(Read(kNow).value_or("") == sent);
}

TEST_P(FrameTest, ReaderLeavesTheNextMessageOnTheStream) {
  ASSERT_THAT(Write("one"), IsOk());
  ASSERT_THAT(Write("two"), IsOk());
  EXPECT_THAT(Read(), IsOkAndHolds("one"));
  FrameReader other;
  EXPECT_EQ(other.Read(reader_.get(), kAnySize, kNever)->bytes, "two");
}

// The end of the stream.

TEST_P(FrameTest, EndBetweenMessagesIsOutOfRange) {
  ASSERT_THAT(Write("last"), IsOk());
  writer_.Close();
  EXPECT_THAT(Read(), IsOkAndHolds("last"));
  EXPECT_THAT(Read(), StatusIs(kOutOfRange));
  EXPECT_THAT(Read(), StatusIs(kOutOfRange));
}

TEST_P(FrameTest, EndInsideTheHeaderIsDataLoss) {
  WriteRaw(absl::string_view("\0\0", 2));
  writer_.Close();
  EXPECT_THAT(Read(), StatusIs(kDataLoss));
}

TEST_P(FrameTest, EndInsideTheBodyIsDataLoss) {
  WriteRaw(
      absl::string_view("\0\0\0\x03"
                        "ab",
                        6));
  writer_.Close();
  EXPECT_THAT(Read(), StatusIs(kDataLoss));
}

TEST_P(FrameTest, KilledWriterIsDataLoss) {
  Child child = RunInChild([&] { return Write(Pattern(5 << 20)); });
  writer_.Close();
  EXPECT_THAT(WaitForFd(reader_.get(), POLLIN, kNever), IsOkAndHolds(true));
  child.Kill(SIGKILL);
  child.Wait();
  EXPECT_THAT(Read(), StatusIs(kDataLoss));
}

TEST_P(FrameTest, WriteToAClosedPeerIsUnavailable) {
  reader_.Close();
  EXPECT_THAT(Write("abc"), StatusIs(kUnavailable));
  EXPECT_FALSE(cut_);
  EXPECT_THAT(Write(Pattern(70000)), StatusIs(kUnavailable));
}

TEST_P(FrameTest, WriteToAClosedPeerLeavesNoSigpipePending) {
  reader_.Close();
  EXPECT_THAT(Write("abc"), StatusIs(kUnavailable));
  sigset_t signals;
  EXPECT_EQ(sigpending(&signals), 0);
  EXPECT_FALSE(sigismember(&signals, SIGPIPE));
  EXPECT_EQ(pthread_sigmask(SIG_BLOCK, nullptr, &signals), 0);
  EXPECT_FALSE(sigismember(&signals, SIGPIPE));
}

TEST_P(FrameTest, SigpipeThatWasPendingStaysPending) {
  reader_.Close();
  Child child = RunInChild([&] {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    raise(SIGPIPE);
    EXPECT_THAT(Write("abc"), StatusIs(kUnavailable));
    sigpending(&signals);
    EXPECT_TRUE(sigismember(&signals, SIGPIPE));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_P(FrameTest, PeerThatClosesMidMessageIsUnavailableAndCut) {
  Child child = RunInChild([&] {
    writer_.Close();
    ReadRaw(10000);
    return absl::OkStatus();
  });
  reader_.Close();
  EXPECT_THAT(Write(Pattern(5 << 20)), StatusIs(kUnavailable));
  EXPECT_TRUE(cut_);
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// What only a socket does: to say that the peer closed it with bytes unread.
using FrameSocketTest = FrameTest;

TEST_P(FrameSocketTest, ResetBetweenMessagesIsOutOfRange) {
  EXPECT_THAT(WriteAll(reader_.get(), "never read"), IsOk());
  writer_.Close();
  EXPECT_THAT(Read(), StatusIs(kOutOfRange));
}

TEST_P(FrameSocketTest, ResetInsideAMessageIsDataLoss) {
  EXPECT_THAT(WriteAll(reader_.get(), "never read"), IsOk());
  WriteRaw(absl::string_view("\0\0", 2));
  writer_.Close();
  EXPECT_THAT(Read(), StatusIs(kDataLoss));
}

INSTANTIATE_TEST_SUITE_P(Streams, FrameSocketTest,
                         ::testing::Values(Kind::kSocket));

// Deadlines of the writer.

TEST_P(FrameTest, DeadlineBeforeTheFirstByteWritesNothing) {
  const size_t filled = Fill();
  EXPECT_THAT(Write("abc", kNow), StatusIs(kDeadlineExceeded));
  EXPECT_FALSE(cut_);
  EXPECT_EQ(ReadRaw(BytesToRead()), std::string(filled, 'f'));
  EXPECT_THAT(Write("abc"), IsOk());
  EXPECT_THAT(Read(), IsOkAndHolds("abc"));
}

TEST_P(FrameTest, DeadlineAfterTheFirstByteCutsTheMessage) {
  EXPECT_THAT(Write(Pattern(5 << 20), kNow), StatusIs(kDeadlineExceeded));
  EXPECT_TRUE(cut_);
  writer_.Close();
  EXPECT_THAT(Read(), StatusIs(kDataLoss));
}

TEST_P(FrameTest, WriteWaitsLongEnough) {
  Fill();
  const absl::Time start = absl::Now();
  EXPECT_THAT(Write("abc", Deadline(absl::Milliseconds(30))),
              StatusIs(kDeadlineExceeded));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(30));
}

// Every call on a stream that is not ready must come back, though a signal may
// be there before it as well as within it.
TEST_P(FrameTest, SignalsDoNotOutlastDeadlines) {
  Fill();
  const SignalStorm storm(absl::Microseconds(20));
  const Deadline enough(absl::Milliseconds(500));
  while (!enough.Expired()) {
    EXPECT_THAT(Write("abc", kNow), StatusIs(kDeadlineExceeded));
  }
  EXPECT_FALSE(cut_);
}

TEST_P(FrameTest, SignalsDoNotOutlastDeadlinesOfTheReader) {
  const SignalStorm storm(absl::Microseconds(20));
  const Deadline enough(absl::Milliseconds(500));
  while (!enough.Expired()) {
    EXPECT_THAT(Read(kNow), StatusIs(kDeadlineExceeded));
  }
}

INSTANTIATE_TEST_SUITE_P(Streams, FrameTest,
                         ::testing::Values(Kind::kSocket, Kind::kPipe),
                         [](const auto& info) {
                           return info.param == Kind::kSocket ? "Socket"
                                                              : "Pipe";
                         });

TEST(FrameErrorTest, WriteErrorIsReportedAtOnce) {
  const Fd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  bool cut;
  EXPECT_THAT(
      WriteFrame(full.get(), "x", {}, Deadline(absl::Seconds(60)), &cut),
      StatusIs(absl::StatusCode::kResourceExhausted));
  const Fd unwritable(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(
      WriteFrame(unwritable.get(), "x", {}, Deadline(absl::Seconds(60)), &cut)
          .ok());
}

}  // namespace
}  // namespace mp
