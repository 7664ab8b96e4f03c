#include "mp/base/io.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
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

const Deadline kNow(absl::ZeroDuration());
const Deadline kNever(absl::InfiniteDuration());

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    reader = Fd(ends[0]);
    writer = Fd(ends[1]);
  }

  Fd reader;
  Fd writer;
};

class IoTest : public ::testing::Test {
 protected:
  // Writes from another process, which then is the only one that can.
  Child RunWriter(absl::string_view bytes, size_t piece_bytes) {
    Child child = RunInChild([&] {
      for (; !bytes.empty(); bytes.remove_prefix(piece_bytes)) {
        piece_bytes = std::min(piece_bytes, bytes.size());
        MP_RETURN_IF_ERROR(
            WriteAll(pipe_.writer.get(), bytes.substr(0, piece_bytes)));
      }
      return absl::OkStatus();
    });
    pipe_.writer.Close();
    return child;
  }

  testing::LeakCheck leak_check_;
  Pipe pipe_;
};

TEST_F(IoTest, RetryOnEintrRepeatsInterruptedCallsOnly) {
  int calls = 0;
  const auto fail_with = [&calls](int error) {
    errno = ++calls < 3 ? EINTR : error;
    return -1;
  };
  EXPECT_EQ(RetryOnEintr([&] { return fail_with(EBADF); }), -1);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(errno, EBADF);
}

TEST_F(IoTest, ReadsMoreThanAPipeHoldsDespiteSignals) {
  const std::string sent(1 << 20, 'x');
  Child child = RunWriter(sent, 10007);
  const SignalStorm storm;
  EXPECT_THAT(ReadToEnd(pipe_.reader.get()), IsOkAndHolds(sent));
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(IoTest, WritesMoreThanAPipeHoldsDespiteSignals) {
  const std::string sent(1 << 20, 'x');
  Child child = RunInChild([&]() -> absl::Status {
    pipe_.writer.Close();
    EXPECT_THAT(ReadToEnd(pipe_.reader.get()), IsOkAndHolds(sent));
    return absl::OkStatus();
  });
  const SignalStorm storm;
  EXPECT_THAT(WriteAll(pipe_.writer.get(), sent), IsOk());
  pipe_.writer.Close();
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(IoTest, ReadUpToJoinsShortReads) {
  Child child = RunWriter("abcdef", 1);
  char buffer[6];
  EXPECT_THAT(ReadUpTo(pipe_.reader.get(), buffer, 4), IsOkAndHolds(4u));
  EXPECT_EQ(absl::string_view(buffer, 4), "abcd");
  EXPECT_THAT(ReadUpTo(pipe_.reader.get(), buffer, 6), IsOkAndHolds(2u));
  EXPECT_EQ(absl::string_view(buffer, 2), "ef");
  EXPECT_THAT(ReadUpTo(pipe_.reader.get(), buffer, 6), IsOkAndHolds(0u));
}

TEST_F(IoTest, ReadToEndTakesAnySize) {
  for (const size_t size : {0, 1, 16383, 16384, 16385, 32768}) {
    Pipe pipe;
    const std::string sent(size, 'x');
    ASSERT_THAT(WriteAll(pipe.writer.get(), sent), IsOk());
    pipe.writer.Close();
    EXPECT_THAT(ReadToEnd(pipe.reader.get()), IsOkAndHolds(sent));
  }
}

TEST_F(IoTest, ErrorsNameTheCall) {
  char byte;
  EXPECT_THAT(
      WriteAll(pipe_.reader.get(), "x"),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("write(")));
  EXPECT_THAT(
      ReadUpTo(pipe_.writer.get(), &byte, 1),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("read(")));
}

TEST_F(IoTest, WaitForFdTellsReadyFromNot) {
  EXPECT_THAT(WaitForFd(pipe_.reader.get(), POLLIN, kNow), IsOkAndHolds(false));
  EXPECT_THAT(WaitForFd(pipe_.writer.get(), POLLOUT, kNow), IsOkAndHolds(true));
  ASSERT_THAT(WriteAll(pipe_.writer.get(), "x"), IsOk());
  EXPECT_THAT(WaitForFd(pipe_.reader.get(), POLLIN, kNever),
              IsOkAndHolds(true));
}

TEST_F(IoTest, HangUpCountsAsReady) {
  pipe_.writer.Close();
  EXPECT_THAT(WaitForFd(pipe_.reader.get(), POLLIN, kNever),
              IsOkAndHolds(true));
}

TEST_F(IoTest, SignalsNeitherEndNorProlongTheWait) {
  const SignalStorm storm;
  const absl::Time start = absl::Now();
  EXPECT_THAT(
      WaitForFd(pipe_.reader.get(), POLLIN, Deadline(absl::Milliseconds(50))),
      IsOkAndHolds(false));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(50));
  EXPECT_GT(storm.count(), 0);
}

TEST_F(IoTest, PollUntilCountsTheReadyOnes) {
  pollfd entries[] = {{pipe_.reader.get(), POLLIN, 0},
                      {pipe_.writer.get(), POLLOUT, 0},
                      {-1, POLLIN, 0}};
  EXPECT_THAT(PollUntil(absl::MakeSpan(entries), kNever), IsOkAndHolds(1));
  EXPECT_EQ(entries[0].revents, 0);
  EXPECT_EQ(entries[1].revents, POLLOUT);
}

}  // namespace
}  // namespace mp
