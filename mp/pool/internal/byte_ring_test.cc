#include "mp/pool/internal/byte_ring.h"

#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/child.h"
#include "mp/testing/test_scale.h"

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using testing::RunInChild;
using testing::Scaled;

constexpr size_t kRingBytes = 4096;

struct Shared {
  RingEnds ends;
  std::atomic<bool> go_on;
  char bytes[kRingBytes];
};

class ByteRingTest : public ::testing::Test {
 protected:
  ByteRingTest()
      : shared_(static_cast<Shared*>(mmap(nullptr, sizeof(Shared),
                                          PROT_READ | PROT_WRITE,
                                          MAP_SHARED | MAP_ANONYMOUS, -1, 0))),
        writer_(shared_->ends, absl::MakeSpan(shared_->bytes)),
        reader_(shared_->ends, absl::MakeSpan(shared_->bytes)) {}
  ~ByteRingTest() override { munmap(shared_, sizeof(Shared)); }

  bool Push(absl::string_view bytes) {
    const size_t half = bytes.size() / 2;
    return writer_.Push(bytes.substr(0, half), bytes.substr(half));
  }

  std::optional<std::string> Pop() {
    const std::optional<size_t> size = reader_.Next();
    if (!size.has_value()) return std::nullopt;
    std::string record(*size, '\0');
    reader_.Read(record.data(), record.size());
    reader_.Finish();
    return record;
  }

  Shared* const shared_;
  RingWriter writer_;
  RingReader reader_;
};

// All bytes of it say how long it is.
std::string RecordOf(size_t size) {
  return std::string(size, static_cast<char>(size));
}

TEST_F(ByteRingTest, HasRecordsOfAllSizesAroundItsEnd) {
  EXPECT_TRUE(reader_.IsEmpty());
  EXPECT_EQ(Pop(), std::nullopt);
  for (size_t size = 0; size < kRingBytes / 4; ++size) {
    ASSERT_TRUE(Push(RecordOf(size))) << size;
    ASSERT_TRUE(Push("between"));
    EXPECT_FALSE(reader_.IsEmpty());
    ASSERT_EQ(Pop(), RecordOf(size));
    ASSERT_EQ(Pop(), "between");
  }
  EXPECT_TRUE(reader_.IsEmpty());
}

TEST_F(ByteRingTest, RefusesWhatItHasNoRoomFor) {
  int pushed = 0;
  while (Push(RecordOf(100))) ++pushed;
  EXPECT_EQ(pushed, kRingBytes / 112);
  EXPECT_FALSE(writer_.HasRoomFor(100));
  EXPECT_FALSE(Push(RecordOf(kRingBytes + 1)));
  ASSERT_EQ(Pop(), RecordOf(100));
  EXPECT_TRUE(writer_.HasRoomFor(100));
  EXPECT_FALSE(writer_.damaged());
}

TEST_F(ByteRingTest, TellsOnceThatHalfIsFree) {
  while (Push(RecordOf(100))) {
  }
  writer_.WantRoom();
  int popped = 0;
  while (!reader_.TakeWantsRoom()) {
    ASSERT_NE(Pop(), std::nullopt);
    ++popped;
  }
  EXPECT_GE(popped, kRingBytes / 112 / 2);
  EXPECT_TRUE(writer_.HasRoomFor(kRingBytes / 4));
  EXPECT_FALSE(reader_.TakeWantsRoom());
}

TEST_F(ByteRingTest, CarriesFromOneThreadToAnother) {
  const int records = Scaled(3000, 1'000'000);
  std::thread writer([&] {
    for (int i = 0; i < records; ++i) {
      while (!Push(RecordOf(static_cast<size_t>(i % 300)))) {
        std::this_thread::yield();
      }
    }
  });
  for (int i = 0; i < records; ++i) {
    std::optional<std::string> record;
    while (!(record = Pop()).has_value() && !reader_.damaged()) {
      std::this_thread::yield();
    }
    EXPECT_EQ(record, RecordOf(static_cast<size_t>(i % 300)));
  }
  writer.join();
}

TEST_F(ByteRingTest, HasNoHalfRecordOfAWriterThatWasKilled) {
  const int rounds = Scaled(20, 1000);
  std::minstd_rand random(7);
  for (int round = 0; round < rounds; ++round) {
    new (shared_) Shared();
    RingReader reader(shared_->ends, absl::MakeSpan(shared_->bytes));
    Child child = RunInChild([&] {
      RingWriter writer(shared_->ends, absl::MakeSpan(shared_->bytes));
      for (size_t i = 0;; ++i) {
        const std::string record = RecordOf(i % 1000);
        while (!writer.Push(record, {})) std::this_thread::yield();
      }
      return absl::OkStatus();
    });
    const size_t kill_at = random() % 200;
    std::string record;
    for (size_t i = 0;; ++i) {
      std::optional<size_t> size;
      while (!(size = reader.Next()).has_value() && i <= kill_at) {
        std::this_thread::yield();
      }
      if (!size.has_value()) break;  // the writer is dead, and all is read
      record.resize(*size);
      reader.Read(record.data(), record.size());
      reader.Finish();
      ASSERT_EQ(record, RecordOf(i % 1000));
      if (i == kill_at) {
        child.Kill(SIGKILL);
        child.Wait();
      }
    }
    EXPECT_FALSE(reader.damaged());
  }
}

TEST_F(ByteRingTest, DoesNotPublishWhatItsWriterDiedOf) {
  void* const page =
      mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Child child = RunInChild([&] {
    signal(SIGSEGV, SIG_DFL);
    Push("whole");
    writer_.Push("half", {static_cast<const char*>(page), 100});
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ::testing::Not(ExitedWith(0)));
  EXPECT_EQ(Pop(), "whole");
  EXPECT_EQ(Pop(), std::nullopt);
  EXPECT_FALSE(reader_.damaged());
  munmap(page, 4096);
}

TEST_F(ByteRingTest, NoticesALengthThatCannotBe) {
  for (const uint64_t length : {uint64_t{9}, uint64_t{4096}, ~uint64_t{0},
                                ~uint64_t{7}, uint64_t{1} << 63}) {
    new (shared_) Shared();
    RingWriter writer(shared_->ends, absl::MakeSpan(shared_->bytes));
    RingReader reader(shared_->ends, absl::MakeSpan(shared_->bytes));
    ASSERT_TRUE(writer.Push("12345678", {}));
    std::memcpy(shared_->bytes, &length, sizeof(length));
    EXPECT_EQ(reader.Next(), std::nullopt) << length;
    EXPECT_TRUE(reader.damaged()) << length;
  }
}

TEST_F(ByteRingTest, NoticesEndsThatCannotBe) {
  ASSERT_TRUE(Push("12345678"));
  shared_->ends.taken = uint64_t{1} << 40;
  while (Push(RecordOf(100))) {
  }
  EXPECT_TRUE(writer_.damaged());
  shared_->ends.written = kRingBytes + 8;
  EXPECT_EQ(Pop(), std::nullopt);
  EXPECT_TRUE(reader_.damaged());
}

TEST_F(ByteRingTest, ReadsAnyBytesToAnEnd) {
  std::minstd_rand random(11);
  for (int round = 0; round < Scaled(2000, 100'000); ++round) {
    new (shared_) Shared();
    RingReader reader(shared_->ends, absl::MakeSpan(shared_->bytes));
    for (char& byte : shared_->bytes) {
      // Mostly zeros, so that some lengths are possible.
      if (random() % 16 == 0) byte = static_cast<char>(random() % 64);
    }
    shared_->ends.written = random() % (2 * kRingBytes);
    shared_->ends.taken = random();
    size_t records = 0;
    std::string record;
    while (const std::optional<size_t> size = reader.Next()) {
      ASSERT_LE(*size, kRingBytes);
      record.resize(*size + 1);
      reader.Read(record.data(), record.size());
      EXPECT_EQ(record.back(), '\0') << "what is beyond the record";
      reader.Finish();
      ASSERT_LE(++records, kRingBytes);
    }
  }
}

}  // namespace
}  // namespace mp::internal
