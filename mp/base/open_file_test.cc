#include "mp/base/open_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include "gtest/gtest.h"
#include "mp/base/fd.h"

namespace mp {
namespace {

TEST(OpenFileTest, KnowsItsFileByAnyDescriptor) {
  const Fd one(memfd_create("one", MFD_CLOEXEC));
  const Fd same(dup(one.get()));
  const Fd other(memfd_create("other", MFD_CLOEXEC));
  const OpenFile file(one.get());
  EXPECT_TRUE(file.IsOn(one.get()));
  EXPECT_TRUE(file.IsOn(same.get()));
  EXPECT_FALSE(file.IsOn(other.get()));
  ASSERT_EQ(dup2(other.get(), one.get()), one.get());
  EXPECT_FALSE(file.IsOn(one.get()));
}

TEST(OpenFileTest, NothingIsOnAClosedDescriptor) {
  Fd fd(memfd_create("one", MFD_CLOEXEC));
  const int number = fd.get();
  const OpenFile file(number);
  fd.Close();
  EXPECT_FALSE(file.IsOn(number));
  EXPECT_FALSE(OpenFile().IsOn(number));
  EXPECT_FALSE(OpenFile(-1).IsOn(-1));
}

}  // namespace
}  // namespace mp
