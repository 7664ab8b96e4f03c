#include "mp/process/internal/fork_closed.h"

#include <fcntl.h>
#include <unistd.h>

#include <optional>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/testing/child.h"

namespace mp::internal {
namespace {

using ::mp::testing::ExitedWith;
using ::mp::testing::RunInChild;

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

// Returns which of the descriptors are open in a forked child, as bits.
testing::Child OpenInChild(const Fd& first, const Fd& second) {
  return RunInChild([&]() -> absl::Status {
    CloseAfterFork();
    _exit((IsOpen(first.get()) ? 1 : 0) + (IsOpen(second.get()) ? 2 : 0));
  });
}

TEST(ForkClosedTest, ClosesWhileItLives) {
  const Fd first(dup(0));
  const Fd second(dup(0));
  EXPECT_THAT(OpenInChild(first, second).Wait(), ExitedWith(3));
  std::optional<ForkClosed> closed(first);
  {
    const ForkClosed also(second);
    EXPECT_THAT(OpenInChild(first, second).Wait(), ExitedWith(0));
  }
  EXPECT_THAT(OpenInChild(first, second).Wait(), ExitedWith(2));
  const ForkClosed again(second);
  closed.reset();
  EXPECT_THAT(OpenInChild(first, second).Wait(), ExitedWith(1));
  EXPECT_TRUE(IsOpen(first.get()));
}

TEST(ForkClosedTest, ChildHasNoneOfItsParents) {
  const Fd fd(dup(0));
  const ForkClosed closed(fd);
  testing::Child child = RunInChild([&]() -> absl::Status {
    CloseAfterFork();
    const Fd another(dup(0));  // with the same number
    CloseAfterFork();
    _exit(IsOpen(another.get()) ? 7 : 1);
  });
  EXPECT_THAT(child.Wait(), ExitedWith(7));
}

}  // namespace
}  // namespace mp::internal
