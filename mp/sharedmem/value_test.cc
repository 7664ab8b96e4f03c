// Value and RawValue, with the tests of CPython's _TestValue and
// _TestSharedCTypes.

#include "mp/sharedmem/value.h"

#include <signal.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/parcel.h"
#include "mp/process/process.h"
#include "mp/process/serializer.h"
#include "mp/sharedmem/raw_value.h"
#include "mp/sharedmem/synchronized.h"
#include "mp/sharedmem/typecode.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using internal::StartMethodTest;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::StatusIs;

struct Point {
  int x;
  double y;
};

// Whether a T can be changed.
template <typename T>
concept IsSettable = requires(T& value) {
  value.Set(1);
};
static_assert(IsSettable<Value<int>>);
static_assert(!IsSettable<const Value<int>>);

class ValueTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ValueTest, AllStartMethods);

class ValueDeathTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ValueDeathTest, RealStartMethods);

void SetAll(Value<int> i, Value<double> d, Value<char> c, Value<int64_t> q) {
  MP_CHECK_OK(i.Set(-9));
  MP_CHECK_OK(d.Set(-1.5));
  MP_CHECK_OK(c.Set('y'));
  MP_CHECK_OK(q.Set(int64_t{1} << 40));
}

// CPython: test_value
TEST_P(ValueTest, AChildChangesThem) {
  auto i = Value<int>::Create(7).value();
  auto d = Value<double>::Create(2).value();
  auto c = Value<char>::Create('x').value();
  auto q = Value<int64_t>::Create(1).value();
  EXPECT_EQ(i.value(), 7);
  EXPECT_EQ(Run(SetAll, i, d, c, q), 0);
  EXPECT_EQ(i.value(), -9);
  EXPECT_EQ(d.value(), -1.5);
  EXPECT_EQ(c.value(), 'y');
  EXPECT_EQ(q.value(), int64_t{1} << 40);
}

// CPython: test_rawvalue
TEST_P(ValueTest, AChildChangesARawOne) {
  const auto raw = RawValue<std::atomic<int>>::Create(1).value();
  const auto add = +[](RawValue<std::atomic<int>> n) { *n += 5; };
  EXPECT_EQ(Run(add, raw), 0);
  EXPECT_EQ(*raw, 6);
}

void AddMany(Value<int> total) {
  for (int i = 0; i < 500; ++i) MP_CHECK_OK(total.With([](int& n) { ++n; }));
}

TEST_P(ValueTest, WithIsOneStep) {
  auto total = Value<int>::Create(0).value();
  Process first(options(), AddMany, total);
  Process second(options(), AddMany, total);
  ASSERT_THAT(first.Start(), IsOk());
  ASSERT_THAT(second.Start(), IsOk());
  AddMany(total);
  ASSERT_THAT(first.Join(internal::kLong), IsOk());
  ASSERT_THAT(second.Join(internal::kLong), IsOk());
  EXPECT_EQ(total.value(), 1500);
}

TEST_P(ValueTest, TheLockTravelsWithIt) {
  auto value = Value<int, Lock>::Create(1).value();
  ASSERT_THAT(value.Acquire(), IsOk());
  const auto try_lock = +[](Value<int, Lock> value) {
    return absl::IsDeadlineExceeded(value.Acquire(absl::ZeroDuration())) ? 0
                                                                         : 1;
  };
  EXPECT_EQ(Run(try_lock, value), 0);
  EXPECT_THAT(value.Release(), IsOk());
}

TEST(ValueHandleTest, ConstOneIsReadAndLocked) {
  const auto value = Value<Point>::Create(3, 1.5).value();
  EXPECT_EQ(value.value().x, 3);
  EXPECT_THAT(value.Field(&Point::y).Get(), IsOkAndHolds(1.5));
  EXPECT_THAT(value.With([](const Point& point) { return point.x; }),
              IsOkAndHolds(3));
  const std::scoped_lock hold(value);
  EXPECT_EQ(value.Copy()->value().x, 3);
}

// CPython: test_getobj_getlock
TEST(ValueHandleTest, HasALockOfItsOwnOrAGivenOne) {
  auto own = Value<int>::Create(5).value();
  EXPECT_FALSE(own.get_lock().Locked());
  EXPECT_EQ(*own.get_obj(), 5);
  RLock lock = RLock::Create().value();
  auto first = Value<int>::CreateWith(lock, 1).value();
  auto second = Value<int>::CreateWith(lock, 2).value();
  EXPECT_EQ(first.get_lock(), lock);
  EXPECT_EQ(second.get_lock(), first.get_lock());
  Lock plain = Lock::Create().value();
  auto third = Value<int, Lock>::CreateWith(plain, 3).value();
  EXPECT_EQ(third.get_lock(), plain);
}

TEST(ValueHandleTest, ItsLockIsHeldDuringWith) {
  auto value = Value<int>::Create(5).value();
  EXPECT_THAT(value.With([&](int& n) { return n + value.get_lock().depth(); }),
              IsOkAndHolds(6u));
  EXPECT_EQ(value.get_lock().depth(), 0u);
  EXPECT_THAT(
      value.With([](int&) { return absl::NotFoundError("what it says"); }),
      StatusIs(absl::StatusCode::kNotFound));
  const std::scoped_lock hold(value);
  EXPECT_EQ(value.get_lock().depth(), 1u);
  EXPECT_THAT(value.Set(3), IsOk());  // it is recursive
}

TEST(ValueHandleTest, FieldsOfAStruct) {
  auto point = Value<Point>::Create(1, 2.5).value();
  EXPECT_THAT(point.Field(&Point::x).Set(7), IsOk());
  EXPECT_THAT(point.Field(&Point::x).Get(), IsOkAndHolds(7));
  EXPECT_EQ(point.value().y, 2.5);
}

// CPython: _TestSharedCTypes.test_copy
TEST(ValueHandleTest, ACopyIsIndependent) {
  auto point = Value<Point>::Create(2, 5.0).value();
  auto copy = point.Copy().value();
  EXPECT_NE(copy.get_lock(), point.get_lock());
  EXPECT_THAT(point.Set({0, 0}), IsOk());
  EXPECT_EQ(copy.value().x, 2);
  EXPECT_EQ(copy.value().y, 5.0);
  const auto raw = RawValue<Point>::Create(3, 4.0).value();
  const auto raw_copy = raw.Copy().value();
  raw->x = 0;
  EXPECT_EQ(raw_copy->x, 3);
}

TEST(ValueHandleTest, AnEmptyHandleSaysSo) {
  Value<int> empty;
  EXPECT_THAT(empty.Get(), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(RawValue<int>().Copy(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  Encoder encoder;
  encoder.Write(empty);
  EXPECT_THAT(std::move(encoder).Finish(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(ValueHandleTest, TooLittleMemoryIsNoValue) {
  const auto small = RawValue<int>::Create(1).value();
  Encoder encoder;
  encoder.Write(small);
  Decoder decoder(std::move(encoder).Finish().value());
  EXPECT_THAT((decoder.Read<RawValue<std::array<char, 100>>>()),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_P(ValueDeathTest, AHolderThatDiesIsToldAndRepaired) {
  auto value = Value<Point>::Create(1, 1.0).value();
  const auto dies = +[](Value<Point> value) {
    value
        .With([](Point& point) {
          point.x = 2;
          raise(SIGKILL);
        })
        .IgnoreError();
  };
  EXPECT_EQ(Run(dies, value), -SIGKILL);
  EXPECT_THAT(value.Get(), StatusIs(absl::StatusCode::kAborted));
  ASSERT_THAT(value.get_lock().AcquireAbandoned(), IsOk());
  value.get_obj()->y = 2.0;
  ASSERT_THAT(value.get_lock().MarkRepaired(), IsOk());
  ASSERT_THAT(value.Release(), IsOk());
  EXPECT_EQ(value.value().x, 2);
}

// ---- Type codes

TEST(TypecodeTest, AreCPythonsTypes) {
  static_assert(std::is_same_v<TypecodeT<'i'>, int>);
  static_assert(std::is_same_v<TypecodeT<'d'>, double>);
  static_assert(sizeof(TypecodeT<'q'>) == 8);
  size_t bytes = 0;
  for (const char code :
       {'c', 'u', 'b', 'B', 'h', 'H', 'i', 'I', 'l', 'L', 'q', 'Q', 'f', 'd'}) {
    EXPECT_THAT(VisitTypecode(code,
                              [&](auto type) {
                                bytes += sizeof(typename decltype(type)::type);
                                return absl::OkStatus();
                              }),
                IsOk());
  }
  EXPECT_EQ(bytes, 1u + 4 + 1 + 1 + 2 + 2 + 4 + 4 + 8 + 8 + 8 + 8 + 4 + 8);
  EXPECT_THAT(VisitTypecode('z', [](auto) { return absl::OkStatus(); }),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mp
