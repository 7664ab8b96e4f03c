#include "mp/base/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::StatusIs;

constexpr absl::StatusCode kDataLoss = absl::StatusCode::kDataLoss;

class MemfdTest : public ::testing::Test {
 protected:
  static Fd Sealed(absl::string_view contents) {
    return *CreateSealedMemfd("test", contents);
  }
  static Fd SealedWith(int seals) {
    Fd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_THAT(WriteAll(fd.get(), "text"), IsOk());
    if (seals != 0) {
      EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
    }
    return fd;
  }

  testing::LeakCheck leak_check_;
};

TEST_F(MemfdTest, HoldsItsContents) {
  EXPECT_THAT(ReadSealedMemfd(Sealed("text"), 100), IsOkAndHolds("text"));
  EXPECT_THAT(ReadSealedMemfd(Sealed(""), 100), IsOkAndHolds(""));
  const std::string large(3000001, 'x');
  EXPECT_THAT(ReadSealedMemfd(Sealed(large), large.size()),
              IsOkAndHolds(large));
}

TEST_F(MemfdTest, ReadsAllWhereverTheSharedOffsetIs) {
  const Fd fd = Sealed("text");
  ASSERT_EQ(lseek(fd.get(), 3, SEEK_SET), 3);
  EXPECT_THAT(ReadSealedMemfd(fd, 100), IsOkAndHolds("text"));
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_CUR), 3);
}

TEST_F(MemfdTest, CannotChange) {
  const Fd fd = Sealed("text");
  EXPECT_EQ(pwrite(fd.get(), "T", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(fd.get(), 3), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(fd.get(), 5), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(mmap(nullptr, 4, PROT_WRITE, MAP_SHARED, fd.get(), 0), MAP_FAILED);
}

TEST_F(MemfdTest, IsCloseOnExec) {
  EXPECT_EQ(fcntl(Sealed("text").get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(MemfdTest, WhatMayStillChangeIsDataLoss) {
  EXPECT_THAT(ReadSealedMemfd(SealedWith(0), 100), StatusIs(kDataLoss));
  EXPECT_THAT(ReadSealedMemfd(SealedWith(F_SEAL_SHRINK | F_SEAL_GROW), 100),
              StatusIs(kDataLoss));
  EXPECT_THAT(ReadSealedMemfd(SealedWith(F_SEAL_SHRINK | F_SEAL_WRITE), 100),
              StatusIs(kDataLoss));
  EXPECT_THAT(ReadSealedMemfd(SealedWith(F_SEAL_GROW | F_SEAL_WRITE), 100),
              StatusIs(kDataLoss));
}

TEST_F(MemfdTest, WhatIsNoMemfdIsDataLoss) {
  const Fd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_THAT(ReadSealedMemfd(null, 100), StatusIs(kDataLoss));
  EXPECT_THAT(ReadSealedMemfd(Fd(), 100), StatusIs(kDataLoss));
}

TEST_F(MemfdTest, LimitIsTheLargestSize) {
  const Fd fd = Sealed("text");
  EXPECT_THAT(ReadSealedMemfd(fd, 4), IsOkAndHolds("text"));
  EXPECT_THAT(ReadSealedMemfd(fd, 3),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("4 bytes, the limit is 3")));
}

}  // namespace
}  // namespace mp
