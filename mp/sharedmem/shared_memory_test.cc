#include "mp/sharedmem/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/parcel.h"
#include "mp/process/process.h"
#include "mp/process/serializer.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using ::mp::internal::StartMethodTest;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::Scaled;
using ::mp::testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr int64_t kGibibyte = int64_t{1} << 30;

SharedMemory MakeBlock(int64_t size_bytes,
                       const SharedMemory::Options& options = {}) {
  absl::StatusOr<SharedMemory> block =
      SharedMemory::Create(size_bytes, options);
  MP_CHECK_OK(block.status());
  return *std::move(block);
}

absl::StatusOr<SharedMemory> SendAndReceive(const SharedMemory& block) {
  Encoder encoder;
  encoder.Write(block);
  MP_ASSIGN_OR_RETURN(Parcel parcel, std::move(encoder).Finish());
  Decoder decoder(std::move(parcel));
  MP_ASSIGN_OR_RETURN(SharedMemory received, decoder.Read<SharedMemory>());
  MP_RETURN_IF_ERROR(decoder.ExpectEnd());
  return received;
}

// Receives a descriptor that somebody says is a block.
absl::StatusOr<SharedMemory> ReceiveForged(const Fd& fd) {
  Encoder encoder;
  encoder.Write(/*read_only=*/false);
  encoder.Write(/*resizable=*/false);
  encoder.Write(/*name=*/std::string());
  encoder.WriteHandle(fd.get());
  MP_ASSIGN_OR_RETURN(Parcel parcel, std::move(encoder).Finish());
  Decoder decoder(std::move(parcel));
  return decoder.Read<SharedMemory>();
}

// Memory of this process that is shared and touched, in bytes.
int64_t SharedResidentBytes() {
  int64_t size = 0, resident = 0, shared = 0;
  std::ifstream("/proc/self/statm") >> size >> resident >> shared;
  return shared * sysconf(_SC_PAGESIZE);
}

TEST(SharedMemoryTest, IsAsLargeAsAskedForAndZero) {
  const SharedMemory block = MakeBlock(5000);
  EXPECT_EQ(block.size(), 5000);
  EXPECT_THAT(block.view(), Each('\0'));
  EXPECT_EQ(block.name(), "");
}

TEST(SharedMemoryTest, SizeMustBeAboveZero) {
  for (const int64_t size :
       {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
    EXPECT_THAT(SharedMemory::Create(size),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat(size))));
  }
}

TEST(SharedMemoryTest, MoreThanAnAddressSpaceIsRefused) {
  EXPECT_THAT(SharedMemory::Create(int64_t{1} << 60),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(SharedMemoryTest, CopiesShowTheSameUntilTheLastIsClosed) {
  SharedMemory block = MakeBlock(10);
  SharedMemory copy = block;
  block.data()[3] = 'x';
  block.Close();
  block.Close();
  EXPECT_TRUE(block.closed());
  EXPECT_EQ(block.size(), 0);
  EXPECT_EQ(copy.view()[3], 'x');
}

TEST(SharedMemoryTest, ClosedHandleDoesNothing) {
  SharedMemory block;
  constexpr auto kCode = absl::StatusCode::kFailedPrecondition;
  EXPECT_THAT(block.CopyFrom("x"), StatusIs(kCode));
  EXPECT_THAT(block.Fill('x'), StatusIs(kCode));
  EXPECT_THAT(block.Reserve(), StatusIs(kCode));
  EXPECT_THAT(block.Resize(2), StatusIs(kCode));
  EXPECT_THAT(block.Refresh(), StatusIs(kCode));
  EXPECT_THAT(block.ReadOnly(), StatusIs(kCode));
  EXPECT_THAT(block.Unlink(), StatusIs(kCode));
  EXPECT_THAT(SendAndReceive(block), StatusIs(kCode));
  EXPECT_TRUE(block.data().empty());
}

TEST(SharedMemoryTest, AnonymousBlockHasNoNameToRemove) {
  const SharedMemory block = MakeBlock(10);
  EXPECT_THAT(block.Unlink(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("no name")));
  EXPECT_THAT(block.TakeOwnership(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(SharedMemoryTest, GoesWithItsLastHandle) {
  LeakCheck leak_check;
  SharedMemory block = MakeBlock(10);
  ASSERT_THAT(SendAndReceive(block), IsOk());
}

TEST(SharedMemoryTest, LeavesADescriptorAloneThatIsNotItsOwnAnyMore) {
  SharedMemory block = MakeBlock(10);
  Encoder encoder;
  encoder.Write(block);
  absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
  ASSERT_THAT(parcel, IsOk());
  // As a program does that closes what it does not know: the block's number is
  // the one below, as duplicates take the first that is free.
  const int pid_fd = parcel->handles[0].get();
  int victim = -1;
  for (int fd = 3; fd < pid_fd; ++fd) {
    if (fcntl(fd, F_GET_SEALS) > 0) victim = fd;
  }
  ASSERT_GT(victim, 0);
  ASSERT_EQ(dup2(STDERR_FILENO, victim), victim);
  EXPECT_THAT(SendAndReceive(block),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(block.CopyFrom("still"), IsOk());
  block.Close();
  EXPECT_EQ(close(victim), 0) << "the handle has closed another's descriptor";
}

TEST(SharedMemoryTest, FromHoldsTheBytes) {
  for (const size_t size : {size_t{1}, size_t{4096}, size_t{3000000}}) {
    std::string bytes(size, 'a');
    bytes.back() = 'z';
    const absl::StatusOr<SharedMemory> block = SharedMemory::From(bytes);
    ASSERT_THAT(block, IsOk());
    EXPECT_EQ(block->view(), bytes);
  }
  EXPECT_THAT(SharedMemory::From(""),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(SharedMemoryTest, CopyGoesOverTouchedPagesAndOthersAlike) {
  constexpr size_t kSize = 1 << 20;
  const SharedMemory block = MakeBlock(kSize);
  for (size_t i = 0; i < kSize; i += 3 * 8192) block.data()[i] = 'o';
  std::string bytes(kSize - 5000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = i * 7 % 251;
  ASSERT_THAT(block.CopyFrom(bytes, 3000), IsOk());
  EXPECT_EQ(block.view().substr(3000, bytes.size()), bytes);
  EXPECT_EQ(block.view()[0], 'o');
  EXPECT_THAT(block.view().substr(3000 + bytes.size(), 100), Each('\0'));
}

TEST(SharedMemoryTest, CopyMustFit) {
  const SharedMemory block = MakeBlock(10);
  EXPECT_THAT(block.CopyFrom("12345", 5), IsOk());
  for (const auto& [size, offset] : std::vector<std::pair<size_t, size_t>>{
           {5, 6}, {11, 0}, {1, 10}, {1, std::numeric_limits<size_t>::max()}}) {
    EXPECT_THAT(block.CopyFrom(std::string(size, 'x'), offset),
                StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("10")));
  }
  EXPECT_EQ(block.view().substr(5), "12345");
}

TEST(SharedMemoryTest, FillSetsAllBytes) {
  const SharedMemory block = MakeBlock(2500000);
  ASSERT_THAT(block.Fill('f'), IsOk());
  EXPECT_EQ(block.view(), std::string(2500000, 'f'));
}

TEST(SharedMemoryTest, AnonymousBlockCannotBeCutShort) {
  const SharedMemory block = MakeBlock(8192);
  Encoder encoder;
  encoder.Write(block);
  const absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
  ASSERT_THAT(parcel, IsOk());
  ASSERT_EQ(parcel->handles.size(), 1);
  EXPECT_NE(ftruncate(parcel->handles[0].get(), 10), 0);
  EXPECT_NE(ftruncate(parcel->handles[0].get(), 10000), 0);
}

TEST(SharedMemoryTest, GrowsIfItIsResizable) {
  SharedMemory block = MakeBlock(5000, {.resizable = true});
  auto other = SendAndReceive(block);
  ASSERT_THAT(other, IsOk());
  block.data()[4999] = 'x';
  ASSERT_THAT(block.Resize(kGibibyte), IsOk());
  EXPECT_EQ(block.size(), kGibibyte);
  EXPECT_EQ(block.view()[4999], 'x');
  block.data()[kGibibyte - 1] = 'y';

  EXPECT_EQ(other->size(), 5000);
  ASSERT_THAT(other->Refresh(), IsOk());
  ASSERT_EQ(other->size(), kGibibyte);
  EXPECT_EQ(other->view()[kGibibyte - 1], 'y');
  EXPECT_THAT(other->Resize(kGibibyte + 1), IsOk());
}

TEST(SharedMemoryTest, DoesNotShrinkNorGrowUnasked) {
  SharedMemory growing = MakeBlock(5000, {.resizable = true});
  EXPECT_THAT(growing.Resize(4999),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("5000")));
  EXPECT_THAT(growing.Resize(int64_t{1} << 60),
              StatusIs(absl::StatusCode::kResourceExhausted));
  SharedMemory fixed = MakeBlock(5000);
  EXPECT_THAT(fixed.Resize(6000),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(fixed.size(), 5000);
}

TEST(SharedMemoryTest, TwoWhoGrowItAtOnceNeverCutItShort) {
  for (const bool named : {false, true}) {
    SharedMemory block = MakeBlock(1, {.named = named, .resizable = true});
    const auto grow = [&]() -> absl::Status {
      for (int i = 0; i < Scaled(3000, 100000); ++i) {
        const absl::Status grown = block.Resize(block.size() + 4096);
        // The other was sooner, and asked for more.
        if (absl::IsInvalidArgument(grown)) {
          MP_RETURN_IF_ERROR(block.Refresh());
        } else {
          MP_RETURN_IF_ERROR(grown);
        }
        block.data().back() = 'x';
      }
      return absl::OkStatus();
    };
    Child one = RunInChild(grow);
    Child two = RunInChild(grow);
    EXPECT_THAT(one.Wait(), ExitedWith(0));
    EXPECT_THAT(two.Wait(), ExitedWith(0));
    EXPECT_TRUE(!named || block.Unlink().ok());
  }
}

TEST(SharedMemoryTest, WriterOfAReadOnlyBlockCannotGrowIt) {
  SharedMemory block = MakeBlock(5000, {.resizable = true});
  auto other = SendAndReceive(block);
  ASSERT_THAT(other, IsOk());
  ASSERT_THAT(block.ReadOnly(), IsOk());
  constexpr auto kCode = absl::StatusCode::kPermissionDenied;
  EXPECT_THAT(block.Resize(10000), StatusIs(kCode, HasSubstr("read")));
  EXPECT_EQ(block.size(), 5000);
  EXPECT_THAT(other->Refresh(), IsOk());  // nothing has been added
  EXPECT_EQ(other->size(), 5000);
}

TEST(SharedMemoryTest, ReadOnlyHandleShowsWhatTheWriterWrites) {
  const SharedMemory block = MakeBlock(100);
  const absl::StatusOr<SharedMemory> reader = block.ReadOnly();
  ASSERT_THAT(reader, IsOk());
  EXPECT_TRUE(reader->data().empty());
  block.data()[0] = 'w';
  EXPECT_EQ(reader->view()[0], 'w');
  constexpr auto kCode = absl::StatusCode::kFailedPrecondition;
  EXPECT_THAT(reader->CopyFrom("x"), StatusIs(kCode, HasSubstr("read-only")));
  EXPECT_THAT(reader->Reserve(), StatusIs(kCode));
  // The writer's own copies go on, by way of the mapping.
  const std::string bytes(100, 'v');
  ASSERT_THAT(block.CopyFrom(bytes), IsOk());
  EXPECT_EQ(reader->view(), bytes);
}

TEST(SharedMemoryTest, LargeCopyWorksThoughTheFileIsReadOnlyByNow) {
  const SharedMemory block = MakeBlock(1 << 20);
  const absl::StatusOr<SharedMemory> reader = block.ReadOnly();
  ASSERT_THAT(reader, IsOk());
  const std::string bytes(1 << 20, 'v');
  ASSERT_THAT(block.CopyFrom(bytes), IsOk());
  EXPECT_EQ(reader->view(), bytes);
}

TEST(SharedMemoryTest, ReadOnlyBlockCannotBeHadToWriteByAnyDoor) {
  const SharedMemory block = MakeBlock(100);
  const absl::StatusOr<SharedMemory> reader = block.ReadOnly();
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT(
      SendAndReceive(block),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("ReadOnly()")));
  Encoder encoder;
  encoder.Write(*reader);
  const absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
  ASSERT_THAT(parcel, IsOk());
  const int fd = parcel->handles[0].get();
  EXPECT_EQ(mmap(nullptr, 100, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  EXPECT_NE(pwrite(fd, "x", 1, 0), 1);
  // By /proc, somebody gets another open file, but the seal is the file's.
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  const Fd again(open(path.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(mmap(nullptr, 100, PROT_WRITE, MAP_SHARED, again.get(), 0),
            MAP_FAILED);
  EXPECT_NE(mprotect(const_cast<char*>(reader->view().data()), 100,
                     PROT_READ | PROT_WRITE),
            0);
  EXPECT_THAT(ReceiveForged(parcel->handles[0]),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST(SharedMemoryTest, WhatIsNotMemoryIsRefused) {
  const Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_THAT(ReceiveForged(null), StatusIs(absl::StatusCode::kDataLoss));
  const Fd empty(memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_FALSE(ReceiveForged(empty).ok());
}

TEST(SharedMemoryTest, UnsealedMemoryOfAnotherUserIsRefused) {
  const Fd fd(memfd_create("theirs", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(fd.get(), 100), 0);
  EXPECT_THAT(ReceiveForged(fd), IsOk());
  if (fchown(fd.get(), 61234, -1) != 0) {
    GTEST_SKIP() << "only root can make a file another's";
  }
  EXPECT_THAT(ReceiveForged(fd), StatusIs(absl::StatusCode::kPermissionDenied,
                                          HasSubstr("61234")));
  ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_THAT(ReceiveForged(fd), IsOk());
}

TEST(SharedMemoryTest, ReserveTakesAllPages) {
  const SharedMemory block = MakeBlock(1 << 20);
  ASSERT_THAT(block.Reserve(), IsOk());
  EXPECT_THAT(MakeBlock(1 << 20, {.reserve = true}).view(), Each('\0'));
}

// What all start methods promise.
class SharedMemoryTravelTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(SharedMemoryTravelTest, AllStartMethods);

absl::Status Answer(SharedMemory block) {
  if (block.view().substr(0, 5) != "hello") return absl::InternalError("what?");
  return block.CopyFrom("world", block.size() - 5);
}

TEST_P(SharedMemoryTravelTest, BothSeeTheSameBytes) {
  const SharedMemory block = MakeBlock(100);
  ASSERT_THAT(block.CopyFrom("hello"), IsOk());
  ASSERT_EQ(Run(Answer, block), 0);
  EXPECT_EQ(block.view().substr(95), "world");
}

TEST_P(SharedMemoryTravelTest, NamedBlockIsFoundByItsName) {
  const SharedMemory block = MakeBlock(100, {.named = true});
  ASSERT_THAT(block.CopyFrom("hello"), IsOk());
  ASSERT_EQ(Run(Answer, block), 0);
  EXPECT_EQ(block.view().substr(95), "world");
  EXPECT_THAT(block.Unlink(), IsOk());
}

TEST_P(SharedMemoryTravelTest, GibibyteIsSharedAndNotCopied) {
  const int64_t before = SharedResidentBytes();
  const SharedMemory block = MakeBlock(kGibibyte);
  ASSERT_THAT(block.CopyFrom("hello"), IsOk());
  ASSERT_EQ(Run(Answer, block), 0);
  EXPECT_EQ(block.view().substr(kGibibyte - 5), "world");
  EXPECT_LT(SharedResidentBytes() - before, kGibibyte / 8);
}

TEST_P(SharedMemoryTravelTest, ReadOnlyHandleStaysSo) {
  const SharedMemory block = MakeBlock(100);
  const absl::StatusOr<SharedMemory> reader = block.ReadOnly();
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ(Run(
                [](SharedMemory block) {
                  return block.read_only() && block.data().empty()
                             ? block.Fill('x')
                             : absl::OkStatus();
                },
                *reader),
            1);
  EXPECT_THAT(block.view(), Each('\0'));
}

TEST_P(SharedMemoryTravelTest, GrowsUnderTheOthersHands) {
  SharedMemory block = MakeBlock(100, {.resizable = true});
  ASSERT_EQ(Run(
                [](SharedMemory block) -> absl::Status {
                  MP_RETURN_IF_ERROR(block.Resize(100000));
                  return block.CopyFrom("new", 99997);
                },
                block),
            0);
  EXPECT_EQ(block.size(), 100);
  ASSERT_THAT(block.Refresh(), IsOk());
  EXPECT_EQ(block.view().substr(99997), "new");
}

}  // namespace
}  // namespace mp
