#include "mp/sync/slot_travel.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/base/arena_layout.h"
#include "mp/base/arena_map.h"
#include "mp/base/fd.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/parcel.h"
#include "mp/process/process.h"
#include "mp/process/serializer.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {

// The least that a handle of shared memory can be.
struct Number {
  std::atomic<uint64_t>& value() const {
    return *static_cast<std::atomic<uint64_t>*>(slot.data());
  }

  Slot slot;
};

template <>
struct Serializer<Number> {
  static void Encode(const Number& number, Encoder& encoder) {
    EncodeSlot(number.slot, encoder);
  }
  static absl::StatusOr<Number> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(Slot slot, DecodeSlot(decoder));
    return Number{std::move(slot)};
  }
};

namespace {

using internal::ExitCodeOf;
using internal::kLong;
using internal::StartMethodTest;
using testing::IsOk;
using testing::StatusIs;

Number MakeNumber() {
  return Number{Arena::Default().value().Allocate(8).value()};
}

bool IsUsed(const char* data) {
  return internal::SlotHeader::IsUsed(
      reinterpret_cast<const internal::SlotHeader*>(data)[-1].state.load());
}

template <typename T>
Parcel Encoded(const T& value) {
  Encoder encoder;
  encoder.Write(value);
  return std::move(encoder).Finish().value();
}

// ---- One message

TEST(SlotTravelTest, ManySlotsNeedOneDescriptorForEachArena) {
  std::vector<Number> numbers;
  for (int i = 0; i < 1000; ++i) numbers.push_back(MakeNumber());
  numbers.push_back({Arena::Create().value().Allocate(8).value()});
  numbers.push_back(MakeNumber());
  Parcel parcel = Encoded(numbers);
  EXPECT_EQ(parcel.handles.size(), 2u);
  Decoder decoder(std::move(parcel));
  const auto received = decoder.Read<std::vector<Number>>();
  ASSERT_THAT(received, IsOk());
  ASSERT_EQ(received->size(), numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    EXPECT_EQ((*received)[i].slot, numbers[i].slot);
  }
}

TEST(SlotTravelTest, AMessageKeepsItsSlotsUntilItIsRead) {
  Number number = MakeNumber();
  const Arena arena = number.slot.arena();
  const char* const data = static_cast<char*>(number.slot.data());
  number.value() = 7;
  Parcel parcel = Encoded(number);
  number = {};
  ASSERT_TRUE(IsUsed(data));
  {
    Decoder decoder(std::move(parcel));
    number = decoder.Read<Number>().value();
  }
  EXPECT_EQ(number.value(), 7u);
  number = {};
  EXPECT_FALSE(IsUsed(data));
}

TEST(SlotTravelTest, AMessageThatIsDroppedKeepsNothing) {
  Number number = MakeNumber();
  const Arena arena = number.slot.arena();
  const char* const data = static_cast<char*>(number.slot.data());
  Encoded(number);
  number = {};
  EXPECT_FALSE(IsUsed(data));
}

TEST(SlotTravelTest, AnEmptyHandleDoesNotTravel) {
  Encoder encoder;
  encoder.Write(Number{});
  EXPECT_THAT(std::move(encoder).Finish(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  Encoder other;
  other.Write(Arena());
  EXPECT_THAT(std::move(other).Finish(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(SlotTravelTest, ForgedMessagesAreRefused) {
  const testing::LeakCheck leak_check;
  const Number number = MakeNumber();
  const std::string good = Encoded(number).bytes;
  const auto read = [](Parcel parcel) {
    Decoder decoder(std::move(parcel));
    return decoder.Read<Number>().status();
  };
  for (size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      Parcel parcel = Encoded(number);
      parcel.bytes[i] = static_cast<char>(parcel.bytes[i] ^ (1 << bit));
      read(std::move(parcel)).IgnoreError();  // it may be another good one
    }
    Parcel parcel = Encoded(number);
    parcel.bytes.resize(i);
    EXPECT_THAT(read(std::move(parcel)), StatusIs(absl::StatusCode::kDataLoss));
  }
  Parcel no_arena = Encoded(number);
  no_arena.handles[0] = Fd(open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_THAT(read(std::move(no_arena)), StatusIs(absl::StatusCode::kDataLoss));
  Parcel later = Encoded(number);
  later.bytes[0] = 1;  // the second arena, and no first
  EXPECT_THAT(read(std::move(later)), StatusIs(absl::StatusCode::kDataLoss));
}

// ---- Other processes

class SlotTravelProcessTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(SlotTravelProcessTest, AllStartMethods);

class SlotTravelDeathTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(SlotTravelDeathTest, RealStartMethods);

void AddTo(Number number, uint64_t added) { number.value() += added; }

TEST_P(SlotTravelProcessTest, AChildUsesTheSameMemory) {
  const Number number = MakeNumber();
  number.value() = 40;
  EXPECT_EQ(Run(AddTo, number, uint64_t{2}), 0);
  EXPECT_EQ(number.value(), 42u);
}

void AddToAll(std::vector<Number> numbers) {
  for (const Number& number : numbers) ++number.value();
}

TEST_P(SlotTravelProcessTest, AHundredThousandAreOneArgument) {
  std::vector<Number> numbers;
  const int count = testing::Scaled(100000, 100000);
  for (int i = 0; i < count; ++i) numbers.push_back(MakeNumber());
  const auto before = testing::ResourceSnapshot::Take();
  EXPECT_EQ(Run(AddToAll, numbers), 0);
  EXPECT_THAT(testing::SettledLeaksSince(before), ::testing::IsEmpty());
  for (const Number& number : numbers) ASSERT_EQ(number.value(), 1u);
}

// The argument is all that keeps it.
TEST_P(SlotTravelProcessTest, OutlivesTheHandleOfItsParent) {
  Number number = MakeNumber();
  const Number result = MakeNumber();
  number.value() = 5;
  const auto add_one = +[](Number number, Number result) {
    result.value() = number.value() + 1;
  };
  Process process(options(), add_one, number, result);
  number = {};
  EXPECT_EQ(ExitCodeOf(process), 0);
  EXPECT_EQ(result.value(), 6u);
}

TEST_P(SlotTravelProcessTest, GrandchildrenUseItToo) {
  const Number number = MakeNumber();
  const auto child = +[](Number number, StartMethod method) {
    Process inner({.context = method}, AddTo, number, uint64_t{3});
    return ExitCodeOf(inner);
  };
  EXPECT_EQ(Run(child, number, GetParam()), 0);
  EXPECT_EQ(number.value(), 3u);
}

TEST_P(SlotTravelProcessTest, AnArenaTravels) {
  Arena arena = Arena::Create().value();
  const Number number{arena.Allocate(8).value()};
  const auto child = +[](Arena arena, uint64_t offset) -> int {
    absl::StatusOr<Slot> slot = Slot::Receive(arena, offset);
    if (!slot.ok()) return 1;
    Number{*slot}.value() = 9;
    return 0;
  };
  EXPECT_EQ(Run(child, arena, number.slot.offset()), 0);
  EXPECT_EQ(number.value(), 9u);
}

int Register(Number number) {
  absl::StatusOr<MemberId> self = number.slot.arena().members().Self();
  if (!self.ok()) return 1;
  number.value() = *self;
  return 0;
}

TEST_P(SlotTravelDeathTest, AnEndInOrderIsToldFromOneThatIsNot) {
  const Number number = MakeNumber();
  Members& members = number.slot.arena().members();
  EXPECT_EQ(Run(Register, number), 0);
  EXPECT_EQ(members.LifeOf(static_cast<MemberId>(number.value().load())),
            Life::kLeft);
  const auto dies = +[](Number number) {
    Register(number);
    raise(SIGKILL);
  };
  EXPECT_EQ(Run(dies, number), -SIGKILL);
  EXPECT_EQ(members.LifeOf(static_cast<MemberId>(number.value().load())),
            Life::kDead);
}

TEST_P(SlotTravelDeathTest, WhatAKilledChildUsedIsFreed) {
  Number number = MakeNumber();
  const Arena arena = number.slot.arena();
  const char* const data = static_cast<char*>(number.slot.data());
  const Number ready = MakeNumber();
  const auto waits = +[](Number, Number ready) {
    ready.value() = 1;
    while (true) pause();
  };
  {
    Process process(options(), waits, number, ready);
    ASSERT_THAT(process.Start(), IsOk());
    while (ready.value() == 0) absl::SleepFor(absl::Milliseconds(1));
    number = {};
    process.Kill().IgnoreError();
    ASSERT_THAT(process.Join(kLong), IsOk());
  }
  arena.map().Sweep();
  EXPECT_FALSE(IsUsed(data));
}

}  // namespace
}  // namespace mp
