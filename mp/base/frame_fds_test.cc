#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/frame.h"
#include "mp/base/io.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using testing::Child;
using testing::ExitedWith;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::LeaksSince;
using testing::ResourceSnapshot;
using testing::RunInChild;
using ::testing::SizeIs;
using testing::StatusIs;

constexpr absl::StatusCode kInvalidArgument =
    absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kResourceExhausted =
    absl::StatusCode::kResourceExhausted;

constexpr uint64_t kAnySize = std::numeric_limits<uint64_t>::max();
const Deadline kNow(absl::ZeroDuration());
const Deadline kNever(absl::InfiniteDuration());

ino_t FileOf(int fd) {
  struct stat info = {};
  EXPECT_EQ(fstat(fd, &info), 0);
  return info.st_ino;
}

class FrameFdsTest : public ::testing::Test {
 protected:
  FrameFdsTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    reader_ = Fd(ends[0]);
    writer_ = Fd(ends[1]);
    // Seven, so that parts of 253 that change places are seen.
    for (int i = 0; i < 7; ++i) {
      files_.emplace_back(memfd_create("test", MFD_CLOEXEC));
    }
  }

  // Returns `count` descriptors, of one file after the other.
  std::vector<int> Fds(size_t count) {
    std::vector<int> fds;
    for (size_t i = 0; i < count; ++i) {
      fds.push_back(files_[i % files_.size()].get());
    }
    return fds;
  }

  absl::Status Write(absl::string_view bytes, size_t fd_count,
                     const Deadline& deadline = kNever) {
    return WriteFrame(writer_.get(), bytes, Fds(fd_count), deadline, &cut_);
  }

  absl::StatusOr<FrameReader::Frame> Read(const Deadline& deadline = kNever) {
    return frames_.Read(reader_.get(), kAnySize, deadline);
  }

  // Checks that `fds` came out of Write(_, `count`).
  void ExpectFds(const std::vector<Fd>& fds, size_t count) {
    ASSERT_THAT(fds, SizeIs(count));
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(FileOf(fds[i].get()), FileOf(Fds(count)[i])) << i;
      EXPECT_EQ(fcntl(fds[i].get(), F_GETFD), FD_CLOEXEC) << i;
    }
  }

  testing::LeakCheck leak_check_;
  Fd reader_;
  Fd writer_;
  std::vector<Fd> files_;
  FrameReader frames_;
  bool cut_ = false;
};

class FrameFdCountTest : public FrameFdsTest,
                         public ::testing::WithParamInterface<size_t> {};

TEST_P(FrameFdCountTest, ArriveInOrderAndCloseOnExec) {
  for (const std::string& sent : {std::string("text"), std::string()}) {
    ASSERT_THAT(Write(sent, GetParam()), IsOk());
    const absl::StatusOr<FrameReader::Frame> frame = Read();
    ASSERT_THAT(frame, IsOk());
    EXPECT_EQ(frame->bytes, sent);
    ExpectFds(frame->fds, GetParam());
  }
}

INSTANTIATE_TEST_SUITE_P(Fds, FrameFdCountTest,
                         ::testing::Values(0, 1, 252, 253, 254, 600));

TEST_F(FrameFdsTest, StayWithTheirMessage) {
  for (const size_t count : {1, 0, 2}) ASSERT_THAT(Write("x", count), IsOk());
  for (const size_t count : {1, 0, 2}) {
    const absl::StatusOr<FrameReader::Frame> frame = Read();
    ASSERT_THAT(frame, IsOk());
    ExpectFds(frame->fds, count);
  }
}

TEST_F(FrameFdsTest, AccompanyAMessageThatTheSocketCannotHold) {
  const std::string sent(5 << 20, 'x');
  Child child = RunInChild([&] { return Write(sent, 300); });
  const absl::StatusOr<FrameReader::Frame> frame = Read();
  ASSERT_THAT(frame, IsOk());
  EXPECT_TRUE(frame->bytes == sent);
  ExpectFds(frame->fds, 300);
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(FrameFdsTest, AreKeptForTheRestOfTheMessage) {
  const std::string sent(5 << 20, 'x');
  ASSERT_THAT(Write(sent, 3, kNow),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_TRUE(cut_);
  EXPECT_THAT(Read(kNow), StatusIs(absl::StatusCode::kDeadlineExceeded));

  // What the writer gave up, we go on with by hand.
  Child child = RunInChild([&] { return WriteAll(writer_.get(), sent); });
  const absl::StatusOr<FrameReader::Frame> frame = Read();
  child.Kill(SIGKILL);
  ASSERT_THAT(frame, IsOk());
  ExpectFds(frame->fds, 3);
}

TEST_F(FrameFdsTest, AreClosedWithAMessageThatNeverEnds) {
  const ResourceSnapshot before = ResourceSnapshot::Take();
  ASSERT_THAT(Write(std::string(5 << 20, 'x'), 3, kNow),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(Read(kNow), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(LeaksSince(before), SizeIs(3));
  frames_ = FrameReader();
  EXPECT_THAT(LeaksSince(before), IsEmpty());
}

TEST_F(FrameFdsTest, MoreThanTheBytesCanCarryAreInvalid) {
  constexpr size_t kMostWithoutBody = 4 * kMaxFdsPerByte;
  EXPECT_THAT(Write("", kMostWithoutBody + 1), StatusIs(kInvalidArgument));
  EXPECT_FALSE(cut_);
  EXPECT_THAT(Write("", kMostWithoutBody), IsOk());
  EXPECT_THAT(Read()->fds, SizeIs(kMostWithoutBody));
}

TEST_F(FrameFdsTest, ClosedDescriptorIsInvalid) {
  const int closed[] = {1 << 20};
  EXPECT_THAT(WriteFrame(writer_.get(), "x", closed, kNever, &cut_),
              StatusIs(kInvalidArgument));
  EXPECT_FALSE(cut_);
  EXPECT_THAT(Read(kNow), StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(FrameFdsTest, AreInvalidOnAPipe) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  const Fd writer(ends[1]);
  EXPECT_THAT(WriteFrame(writer.get(), "x", Fds(1), kNever, &cut_),
              StatusIs(kInvalidArgument));
  EXPECT_FALSE(cut_);
  EXPECT_THAT(WaitForFd(reader.get(), POLLIN, kNow), IsOkAndHolds(false));
}

// Returns two ends of a TCP connection.
std::pair<Fd, Fd> TcpPair() {
  const Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Fd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(listener.get(), any, size), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  EXPECT_EQ(getsockname(listener.get(), any, &size), 0);
  EXPECT_EQ(connect(client.get(), any, size), 0);
  return {std::move(client),
          Fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC))};
}

TEST_F(FrameFdsTest, AreInvalidOnAnInternetSocket) {
  const auto [client, server] = TcpPair();
  EXPECT_THAT(WriteFrame(client.get(), "x", Fds(1), kNever, &cut_),
              StatusIs(kInvalidArgument));
  EXPECT_FALSE(cut_);
  EXPECT_THAT(WaitForFd(server.get(), POLLIN, kNow), IsOkAndHolds(false));
}

TEST_F(FrameFdsTest, MoreOnTheirWayThanAllowedIsResourceExhausted) {
  Child child = RunInChild([&]() -> absl::Status {
    const rlimit lowered = {20, 20};
    setrlimit(RLIMIT_NOFILE, &lowered);
    // Root may have any number; and another run's count is another user's.
    if (geteuid() == 0) setuid(1'000'000 + std::random_device()() % 1'000'000);
    const Deadline soon(absl::Seconds(1));
    absl::Status status;
    int sent = 0;
    while ((status = Write("x", 3, soon)).ok()) ++sent;
    // Where it may all the same, the socket is full in the end.
    if (absl::IsDeadlineExceeded(status)) return absl::OkStatus();
    if (absl::IsResourceExhausted(status) && sent > 0 && !cut_ &&
        absl::StrContains(status.message(), "ulimit -n")) {
      return absl::OkStatus();
    }
    return status;
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// Reads with room for so many descriptors only.
class FrameFdLimitTest : public FrameFdsTest,
                         public ::testing::WithParamInterface<int> {
 protected:
  absl::Status ReadWithRoomForFds(int room) {
    rlimit limit;
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const int first_free = reader_.Dup()->get();
    const rlimit lowered = {static_cast<rlim_t>(first_free + room),
                            limit.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &lowered), 0);
    const absl::Status status = Read().status();
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return status;
  }
};

TEST_P(FrameFdLimitTest, ReceiverIsResourceExhaustedAndLeaksNone) {
  ASSERT_THAT(Write("x", 3), IsOk());
  const ResourceSnapshot before = ResourceSnapshot::Take();
  EXPECT_THAT(ReadWithRoomForFds(GetParam()), StatusIs(kResourceExhausted));
  frames_ = FrameReader();
  EXPECT_THAT(LeaksSince(before), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Room, FrameFdLimitTest, ::testing::Values(0, 1, 2));

}  // namespace
}  // namespace mp
