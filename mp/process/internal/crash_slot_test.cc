#include "mp/process/internal/crash_slot.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mp::internal {
namespace {

using ::testing::Optional;

// As new from the kernel.
std::unique_ptr<CrashSlot> ZeroSlot() {
  return std::unique_ptr<CrashSlot>(new CrashSlot());
}

TEST(CrashSlotTest, NothingIsKnownFromAZeroPage) {
  const CrashNote note = ReadCrashSlot(*ZeroSlot());
  EXPECT_EQ(note.exit_code, std::nullopt);
  EXPECT_EQ(note.ended_at, std::nullopt);
  EXPECT_EQ(note.message, "");
  EXPECT_EQ(note.stack, "");
}

TEST(CrashSlotTest, SaysWhatWasWritten) {
  const auto slot = ZeroSlot();
  slot->exit_note = CrashSlot::kExited + 17;
  slot->ended_at = 1'500'000'000;
  EXPECT_TRUE(slot->message.Append("went wrong"));
  EXPECT_TRUE(slot->stack.Append("#0 F\n"));
  EXPECT_TRUE(slot->stack.Append("#1 main\n"));
  const CrashNote note = ReadCrashSlot(*slot);
  EXPECT_THAT(note.exit_code, Optional(17));
  EXPECT_THAT(note.ended_at, Optional(absl::Milliseconds(1500)));
  EXPECT_EQ(note.message, "went wrong");
  EXPECT_EQ(note.stack, "#0 F\n#1 main");
}

TEST(CrashSlotTest, ExitCodeZeroIsOneToo) {
  const auto slot = ZeroSlot();
  slot->exit_note = CrashSlot::kExited;
  EXPECT_THAT(ReadCrashSlot(*slot).exit_code, Optional(0));
}

TEST(CrashSlotTest, CrashComesAfterAnExit) {
  const auto slot = ZeroSlot();
  slot->exit_note = CrashSlot::kExited + 1;
  slot->signal = SIGSEGV;
  EXPECT_THAT(ReadCrashSlot(*slot).exit_code, Optional(-SIGSEGV));
}

TEST(CrashSlotTest, ClearedItSaysNothing) {
  const auto slot = ZeroSlot();
  memset(static_cast<void*>(slot.get()), 0x41, sizeof(CrashSlot));
  ClearCrashSlot(*slot);
  const CrashNote note = ReadCrashSlot(*slot);
  EXPECT_EQ(note.exit_code, std::nullopt);
  EXPECT_EQ(note.ended_at, std::nullopt);
  EXPECT_EQ(note.message + note.stack, "");
}

TEST(CrashSlotTest, TextThatDoesNotFitIsLeftOutWhole) {
  CrashText<8> text = {};
  EXPECT_TRUE(text.Append("12345"));
  EXPECT_FALSE(text.Append("6789"));
  EXPECT_TRUE(text.Append("678"));
  EXPECT_FALSE(text.Append("9"));
  EXPECT_EQ(text.published, 8u);
}

TEST(CrashSlotTest, WriterOfARuinedPageStaysInIt) {
  CrashText<8> text = {};
  text.published = 9;
  EXPECT_FALSE(text.Append(""));
  text.published = UINT32_MAX;
  EXPECT_FALSE(text.Append("12"));
}

TEST(CrashSlotTest, ImpossibleCodesAreNotBelieved) {
  const auto slot = ZeroSlot();
  for (const uint32_t exit : {1u, 255u, 0x200u, 0x80000100u, UINT32_MAX}) {
    slot->exit_note = exit;
    EXPECT_EQ(ReadCrashSlot(*slot).exit_code, std::nullopt) << exit;
  }
  for (const uint32_t signal : {65u, 1000u, 0x80000000u, UINT32_MAX}) {
    slot->signal = signal;
    EXPECT_EQ(ReadCrashSlot(*slot).exit_code, std::nullopt) << signal;
  }
  slot->ended_at = -1;
  EXPECT_EQ(ReadCrashSlot(*slot).ended_at, std::nullopt);
}

TEST(CrashSlotTest, TextIsPrintableAndNoLongerThanItsRoom) {
  const auto slot = ZeroSlot();
  memset(slot->stack.bytes, 'x', sizeof(slot->stack.bytes));
  slot->stack.bytes[0] = '\x1b';
  slot->stack.published = UINT32_MAX;
  const std::string stack = ReadCrashSlot(*slot).stack;
  EXPECT_EQ(stack.size(), sizeof(slot->stack.bytes) + 3);
  EXPECT_EQ(stack.substr(0, 6), "\\x1bxx");
}

TEST(CrashSlotTest, AnyGarbageCanBeRead) {
  std::minstd_rand random(1);
  const auto slot = ZeroSlot();
  for (int i = 0; i < 200; ++i) {
    auto* const bytes = reinterpret_cast<unsigned char*>(slot.get());
    for (size_t j = 0; j < sizeof(CrashSlot); ++j) bytes[j] = random() & 0xff;
    const CrashNote note = ReadCrashSlot(*slot);
    const std::string text = note.message + note.stack;
    EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) {
      return c == '\n' || static_cast<unsigned char>(c) >= 0x20;
    }));
  }
}

// The other process may do so at any time.
TEST(CrashSlotTest, PageThatChangesMeanwhileCanBeRead) {
  const auto slot = ZeroSlot();
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint32_t i = 0; !done; ++i) {
      slot->stack.published = i % 2 == 0 ? 3 : UINT32_MAX;
      slot->signal = i;
    }
  });
  for (int i = 0; i < 2000; ++i) {
    EXPECT_LE(ReadCrashSlot(*slot).stack.size(), 4 * kCrashSlotBytes);
  }
  done = true;
  writer.join();
}

}  // namespace
}  // namespace mp::internal
