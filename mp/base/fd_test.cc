#include "mp/base/fd.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

class FdTest : public ::testing::Test {
 protected:
  static Fd OpenNull() { return Fd(open("/dev/null", O_RDWR | O_CLOEXEC)); }
  static bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

  testing::LeakCheck leak_check_;
};

TEST_F(FdTest, ClosesAtTheEndOfItsLife) {
  int number;
  {
    const Fd fd = OpenNull();
    number = fd.get();
    EXPECT_TRUE(fd.is_open());
    EXPECT_TRUE(IsOpen(number));
  }
  EXPECT_FALSE(IsOpen(number));
}

TEST_F(FdTest, OwnsNothingByDefault) {
  EXPECT_FALSE(Fd().is_open());
  EXPECT_EQ(Fd().get(), -1);
  EXPECT_FALSE(Fd(-1).is_open());
}

TEST_F(FdTest, ZeroIsADescriptorLikeAnyOther) {
  Fd fd(0);
  EXPECT_TRUE(fd.is_open());
  EXPECT_EQ(fd.Release(), 0);
}

TEST_F(FdTest, MovesTheDescriptor) {
  Fd from = OpenNull();
  const int number = from.get();
  Fd to = std::move(from);
  EXPECT_EQ(to.get(), number);
  EXPECT_FALSE(from.is_open());  // NOLINT(bugprone-use-after-move)
}

TEST_F(FdTest, AssignmentClosesTheOldDescriptor) {
  Fd to = OpenNull();
  Fd from = OpenNull();
  const int old = to.get();
  const int number = from.get();
  to = std::move(from);
  EXPECT_EQ(to.get(), number);
  EXPECT_FALSE(IsOpen(old));
}

TEST_F(FdTest, AssignmentToItselfKeepsTheDescriptor) {
  Fd fd = OpenNull();
  Fd& same = fd;
  fd = std::move(same);
  EXPECT_TRUE(IsOpen(fd.get()));
}

TEST_F(FdTest, ReleaseGivesTheDescriptorAway) {
  Fd fd = OpenNull();
  const int number = fd.Release();
  EXPECT_FALSE(fd.is_open());
  EXPECT_TRUE(IsOpen(number));
  close(number);
}

TEST_F(FdTest, CloseMayBeCalledTwice) {
  Fd fd = OpenNull();
  fd.Close();
  const Fd other = OpenNull();  // Most likely the same number.
  fd.Close();
  EXPECT_FALSE(fd.is_open());
  EXPECT_TRUE(IsOpen(other.get()));
}

TEST_F(FdTest, CloseKeepsErrno) {
  Fd never_open(1 << 20);  // So close() fails, and sets errno.
  errno = EXDEV;
  never_open.Close();
  EXPECT_EQ(errno, EXDEV);
}

TEST_F(FdTest, DupIsTheSameFileAndCloseOnExec) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const absl::StatusOr<Fd> copy = writer.Dup();
  ASSERT_THAT(copy, IsOk());
  EXPECT_EQ(fcntl(copy->get(), F_GETFD), FD_CLOEXEC);

  writer.Close();
  char byte = 0;
  EXPECT_EQ(write(copy->get(), "x", 1), 1);
  EXPECT_EQ(read(reader.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST_F(FdTest, DupOfNothingIsInvalid) {
  EXPECT_THAT(Fd().Dup(), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Fd::DupOf(-1), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(FdTest, DupAtTheLimitIsResourceExhausted) {
  const Fd fd = OpenNull();
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none_left = {static_cast<rlim_t>(fd.get() + 1), limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none_left), 0);
  const absl::StatusOr<Fd> copy = fd.Dup();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_THAT(copy, StatusIs(absl::StatusCode::kResourceExhausted,
                             HasSubstr("F_DUPFD_CLOEXEC")));
}

}  // namespace
}  // namespace mp
