#include "examples/internal/progress_bar.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/testing/leaks.h"

namespace examples {
namespace {

using ::testing::HasSubstr;
using ::testing::Lt;
using ::testing::SizeIs;

constexpr uint64_t kMiB = 1 << 20;

TEST(FormatProgressTest, ShowsBarShareBytesRateAndTimeLeft) {
  EXPECT_EQ(
      FormatProgress({64 * kMiB, 128 * kMiB, absl::Seconds(4)}, 70),
      "[==========>         ]  50%  64.0 of 128.0 MiB  16.0 MiB/s  0:04 left");
}

TEST(FormatProgressTest, ShowsNoRateBeforeThereIsOne) {
  EXPECT_EQ(FormatProgress({0, 2048, absl::Seconds(1)}, 41),
            "[>                ]   0%  0.0 of 2.0 KiB");
  EXPECT_EQ(FormatProgress({100, 200, absl::ZeroDuration()}, 41),
            "[=========>         ]  50%  100 of 200 B");
}

TEST(FormatProgressTest, IsFullAtTheEndEvenIfFilesGrew) {
  const std::string full = FormatProgress({10, 10, absl::Seconds(1)}, 60);
  EXPECT_THAT(full, HasSubstr("=] 100%  10 of 10 B  10 B/s  0:00 left"));
  EXPECT_EQ(FormatProgress({11, 10, absl::Seconds(1)}, 60), full);
  EXPECT_THAT(FormatProgress({0, 0, absl::Seconds(1)}, 60), HasSubstr("100%"));
}

TEST(FormatProgressTest, WritesLongTimesWithHours) {
  EXPECT_THAT(FormatProgress({1, 3661, absl::Seconds(1)}, 80),
              HasSubstr("  1:01:00 left"));
}

TEST(FormatProgressTest, LeavesTheLastColumnFree) {
  const Progress progress = {64 * kMiB, 128 * kMiB, absl::Seconds(4)};
  for (int columns = 1; columns < 100; ++columns) {
    EXPECT_THAT(FormatProgress(progress, columns), SizeIs(Lt(columns)));
  }
  EXPECT_EQ(FormatProgress(progress, 12), "  50%  64.0");
}

TEST(ProgressBarTest, DrawsOnATerminalAndErases) {
  mp::testing::LeakCheck leak_check;
  int reader_fd, terminal_fd;
  const winsize size = {/*ws_row=*/24, /*ws_col=*/50, 0, 0};
  ASSERT_EQ(openpty(&reader_fd, &terminal_fd, nullptr, nullptr, &size), 0);
  const mp::Fd reader(reader_fd);
  mp::Fd terminal(terminal_fd);
  const Progress progress = {1, 2, absl::Seconds(1)};

  ProgressBar bar(terminal.get());
  bar.Erase();  // Nothing is drawn, so nothing happens.
  bar.Draw(progress);
  bar.Erase();
  bar.Erase();
  terminal.Close();

  std::string seen;
  char buffer[1024];
  ssize_t got;
  while ((got = read(reader.get(), buffer, sizeof(buffer))) > 0) {
    seen.append(buffer, got);
  }
  EXPECT_EQ(seen,
            absl::StrCat("\r\x1b[K", FormatProgress(progress, 50), "\r\x1b[K"));
}

TEST(ProgressBarTest, WritesNothingElsewhere) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const mp::Fd reader(ends[0]);
  mp::Fd writer(ends[1]);
  ProgressBar bar(writer.get());
  bar.Draw({1, 2, absl::Seconds(1)});
  bar.Erase();
  writer.Close();
  EXPECT_EQ(*mp::ReadToEnd(reader.get()), "");
}

}  // namespace
}  // namespace examples
