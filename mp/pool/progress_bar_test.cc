#include "mp/pool/progress_bar.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/pool/progress.h"
#include "mp/testing/child.h"

namespace mp {
namespace {

using ::mp::internal::ProgressLine;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::ExitStatus;
using ::mp::testing::RunInChild;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Progress Halfway() {
  return {.done = 450,
          .failed = 3,
          .total = 1000,
          .elapsed = absl::Seconds(12),
          .finished = false};
}

TEST(ProgressLineTest, ShowsBarCountsTimesAndRate) {
  EXPECT_EQ(ProgressLine("hashing", Halfway(), 79, /*utf8=*/false),
            "hashing  45% |##########             | "
            "450/1000, 3 failed [00:12<00:14, 37.5/s]");
}

TEST(ProgressLineTest, FillsTheWidth) {
  for (const size_t width : {63, 80, 200}) {
    EXPECT_EQ(ProgressLine("hashing", Halfway(), width, false).size(), width);
  }
}

TEST(ProgressLineTest, GivesUpTheBarAndThenTheEndWhereThereIsNoRoom) {
  EXPECT_EQ(ProgressLine("hashing", Halfway(), 55, false),
            "hashing  45% 450/1000, 3 failed [00:12<00:14, 37.5/s]");
  EXPECT_EQ(ProgressLine("hashing", Halfway(), 20, false),
            "hashing  45% 450/100");
  EXPECT_EQ(ProgressLine("hashing", Halfway(), 0, false), "");
}

TEST(ProgressLineTest, CountsCharactersNotBytes) {
  const std::string line = ProgressLine("größe", Halfway(), 79, /*utf8=*/true);
  EXPECT_THAT(line, StartsWith("größe  45% ▕██"));
  size_t columns = 0;
  for (const char c : line) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++columns;
  }
  EXPECT_EQ(columns, 79u);
  // Not within one of them.
  EXPECT_EQ(ProgressLine("größe", Halfway(), 3, true), "grö");
}

TEST(ProgressLineTest, HasNeitherBarNorTimeLeftWithoutATotal) {
  Progress progress = Halfway();
  progress.total = std::nullopt;
  EXPECT_EQ(ProgressLine("hashing", progress, 79, false),
            "hashing 450, 3 failed [00:12, 37.5/s]");
}

TEST(ProgressLineTest, EndsWithWhatItTook) {
  EXPECT_THAT(ProgressLine("",
                           {.done = 10,
                            .failed = 0,
                            .total = 10,
                            .elapsed = absl::Seconds(3725),
                            .finished = true},
                           79, false),
              AllOf(StartsWith("100% |#########"),
                    EndsWith("#| 10/10 [1:02:05, 372.5s each]")));
}

TEST(ProgressLineTest, HasNoRateAtTheBegin) {
  EXPECT_THAT(ProgressLine("",
                           {.done = 0,
                            .failed = 0,
                            .total = 10,
                            .elapsed = absl::ZeroDuration(),
                            .finished = false},
                           79, false),
              EndsWith("| 0/10 [00:00, ?/s]"));
}

TEST(ProgressLineTest, SurvivesNumbersThatMakeNoSense) {
  EXPECT_THAT(ProgressLine("",
                           {.done = 20,
                            .failed = 40,
                            .total = 10,
                            .elapsed = -absl::InfiniteDuration(),
                            .finished = false},
                           79, false),
              HasSubstr("20/10"));
  EXPECT_THAT(ProgressLine("",
                           {.done = 1,
                            .failed = 0,
                            .total = UINT64_MAX,
                            .elapsed = absl::InfiniteDuration(),
                            .finished = false},
                           79, false),
              HasSubstr("1/18446744073709551615"));
}

// A pseudo-terminal that is nobody's controlling one.
class ProgressBarTest : public ::testing::Test {
 protected:
  void SetUp() override {
    keyboard_ = Fd(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    if (!keyboard_.is_open() || grantpt(keyboard_.get()) != 0 ||
        unlockpt(keyboard_.get()) != 0) {
      GTEST_SKIP() << "there are no pseudo-terminals here";
    }
    terminal_ =
        Fd(open(ptsname(keyboard_.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_TRUE(terminal_.is_open());
    termios modes;
    ASSERT_EQ(tcgetattr(terminal_.get(), &modes), 0);
    cfmakeraw(&modes);
    ASSERT_EQ(tcsetattr(terminal_.get(), TCSANOW, &modes), 0);
    SetWidth(60);
    setenv("TERM", "xterm", 1);
  }

  void SetWidth(unsigned short columns) const {
    const winsize size{24, columns, 0, 0};
    ASSERT_EQ(ioctl(terminal_.get(), TIOCSWINSZ, &size), 0);
  }

  ProgressBar Bar(std::optional<bool> utf8 = false) const {
    return ProgressBar("hashing", {.fd = terminal_.get(), .utf8 = utf8});
  }

  int terminal() const { return terminal_.get(); }

  // What the terminal has got since the last time. The kernel hands it on a
  // little later, in order.
  std::string Shown() const {
    constexpr char kMark = '!';
    std::string shown;
    if (write(terminal(), &kMark, 1) != 1) return "the terminal is gone";
    while (shown.empty() || shown.back() != kMark) {
      pollfd news{keyboard_.get(), POLLIN, 0};
      char byte;
      if (poll(&news, 1, -1) != 1 || read(keyboard_.get(), &byte, 1) != 1) {
        return "the keyboard is gone";
      }
      shown += byte;
    }
    shown.pop_back();
    return shown;
  }

 private:
  Fd keyboard_;
  Fd terminal_;
};

TEST_F(ProgressBarTest, DrawsOverItsLineAndLeavesTheLast) {
  const ProgressBar bar = Bar();
  bar(Halfway());
  EXPECT_EQ(Shown(),
            "\r" + ProgressLine("hashing", Halfway(), 59, false) + "\x1b[K");
  Progress end = Halfway();
  end.finished = true;
  bar(end);
  EXPECT_EQ(Shown(),
            "\r" + ProgressLine("hashing", end, 59, false) + "\x1b[K\n");
}

TEST_F(ProgressBarTest, IsAsWideAsTheTerminal) {
  const ProgressBar bar = Bar();
  SetWidth(100);
  bar(Halfway());
  EXPECT_EQ(Shown().size(), 99 + sizeof("\r\x1b[K") - 1);
  SetWidth(0);  // unknown
  bar(Halfway());
  EXPECT_EQ(Shown().size(), 79 + sizeof("\r\x1b[K") - 1);
}

TEST_F(ProgressBarTest, TakesItsCharactersFromTheLocale) {
  setenv("LC_ALL", "C.UTF-8", 1);
  SetWidth(90);
  Bar(std::nullopt)(Halfway());
  EXPECT_THAT(Shown(), HasSubstr("▕█"));
  setenv("LC_ALL", "C", 1);
  Bar(std::nullopt)(Halfway());
  EXPECT_THAT(Shown(), HasSubstr("|#"));
}

TEST_F(ProgressBarTest, DoesNotLetItsTitleSteerTheTerminal) {
  SetWidth(120);
  ProgressBar("a\nb\x1b[2J", {.fd = terminal(), .utf8 = false})(Halfway());
  EXPECT_THAT(Shown(), StartsWith("\ra b\\x1b[2J  45% |#"));
}

TEST_F(ProgressBarTest, IsQuietOnADumbTerminal) {
  setenv("TERM", "dumb", 1);
  Bar()(Halfway());
  EXPECT_EQ(Shown(), "");
}

TEST_F(ProgressBarTest, IsQuietInTheBackground) {
  Child session = RunInChild([&]() -> absl::Status {
    if (setsid() == -1 || ioctl(terminal(), TIOCSCTTY, 0) != 0) {
      return absl::InternalError("no controlling terminal");
    }
    Bar()(Halfway());
    if (Shown().empty()) return absl::InternalError("not in the foreground");
    Child job = RunInChild([&]() -> absl::Status {
      setpgid(0, 0);
      Bar()(Halfway());
      return absl::OkStatus();
    });
    if (job.Wait() != ExitStatus{0}) {
      return absl::InternalError("the job in the background");
    }
    return Shown().empty() ? absl::OkStatus() : absl::InternalError("drawn");
  });
  EXPECT_THAT(session.Wait(), ExitedWith(0));
}

TEST(ProgressBarQuietTest, WritesNothingWhereThereIsNoTerminal) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd reader(ends[0]);
  {
    const Fd writer(ends[1]);
    Progress end = Halfway();
    ProgressBar("hashing", {.fd = writer.get()})(end);
    end.finished = true;
    ProgressBar("hashing", {.fd = writer.get()})(end);
  }
  char byte;
  EXPECT_EQ(read(reader.get(), &byte, 1), 0) << "not at its end";
  ProgressBar("closed", {.fd = -1})(Halfway());
}

TEST(ProgressBarQuietTest, IsAProgressCallback) {
  const ProgressCallback callback = ProgressBar("hashing");
  EXPECT_TRUE(callback != nullptr);
}

}  // namespace
}  // namespace mp
