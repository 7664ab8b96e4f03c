#include "mp/ipc/object.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using Kind = Object::Kind;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr uint64_t kMaxUnsigned = std::numeric_limits<uint64_t>::max();

// Deeper than the stack, if each took 70 bytes of it.
constexpr int kDeep = 120'000;

Object Nested(int depth) {
  Object object;
  for (int i = 0; i < depth; ++i) object = Object::List({std::move(object)});
  return object;
}

TEST(ObjectTest, HasTheKindThatItIsMadeOf) {
  EXPECT_EQ(Object().kind(), Kind::kNone);
  EXPECT_EQ(Object(nullptr).kind(), Kind::kNone);
  EXPECT_EQ(Object(true).kind(), Kind::kBool);
  EXPECT_EQ(Object(1).kind(), Kind::kInt);
  EXPECT_EQ(Object(uint8_t{1}).kind(), Kind::kInt);
  EXPECT_EQ(Object(1.5F).kind(), Kind::kFloat);
  EXPECT_EQ(Object("text").kind(), Kind::kStr);
  EXPECT_EQ(Object(std::string("text")).kind(), Kind::kStr);
  EXPECT_EQ(Object(absl::string_view("text")).kind(), Kind::kStr);
  EXPECT_EQ(Object(std::string_view("text")).kind(), Kind::kStr);
  EXPECT_EQ(Object::Bytes("text").kind(), Kind::kBytes);
  EXPECT_EQ(Object::List({}).kind(), Kind::kList);
  EXPECT_EQ(Object::Exception("ValueError").kind(), Kind::kRecord);
}

TEST(ObjectTest, IsNotMadeOfWhatMeansNothing) {
  EXPECT_FALSE((std::is_constructible_v<Object, char>));
  EXPECT_FALSE((std::is_constructible_v<Object, void*>));
  EXPECT_FALSE((std::is_constructible_v<Object, int*>));
  EXPECT_FALSE((std::is_constructible_v<Object::Key, Object>));
}

TEST(ObjectTest, ReadsAsItIsWritten) {
  const Object object =
      Object::Dict({{"ok", true},
                    {"items", Object::List({42, nullptr, "hello", 1.5})},
                    {7, Object::Tuple({Object::Set({1, "x"})})}});
  EXPECT_EQ(object.Repr(),
            "{'ok': True, 'items': [42, None, 'hello', 1.5], 7: ({1, 'x'},)}");
  std::ostringstream stream;
  stream << object;
  EXPECT_EQ(stream.str(), object.Repr());
}

TEST(ObjectTest, ContentIsOfItsKindOnly) {
  const Object one = 1;
  EXPECT_EQ(one.int64(), 1);
  EXPECT_EQ(one.boolean(), std::nullopt);
  EXPECT_EQ(one.real(), std::nullopt);
  EXPECT_EQ(one.str(), nullptr);
  EXPECT_EQ(one.list(), nullptr);
  EXPECT_EQ(Object(true).int64(), std::nullopt);
  EXPECT_EQ(*Object("x").str(), "x");
  EXPECT_EQ(Object("x").bytes(), nullptr);
  EXPECT_EQ(*Object::ByteArray("x").bytes(), "x");
  EXPECT_EQ(Object::Tuple({1}).list(), nullptr);
  EXPECT_EQ(Object::Tuple({1}).tuple()->at(0), one);
  EXPECT_EQ(Object::FrozenSet({1}).set()->at(0), one);
}

TEST(ObjectTest, ConvertsOrSaysWhyNot) {
  EXPECT_THAT(Object(7).To<int>(), IsOkAndHolds(7));
  EXPECT_THAT(Object(true).To<bool>(), IsOkAndHolds(true));
  EXPECT_THAT(Object("x").To<std::string>(), IsOkAndHolds("x"));
  EXPECT_THAT(Object(7).To<double>(), IsOkAndHolds(7.0));
  EXPECT_THAT(Object(kMaxUnsigned).To<uint64_t>(), IsOkAndHolds(kMaxUnsigned));
  EXPECT_THAT(Object(kMin).To<int64_t>(), IsOkAndHolds(kMin));
  EXPECT_THAT(Object("7").To<int>(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("str '7' is no int")));
  EXPECT_THAT(Object(true).To<int>(),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Object(int64_t{1} << 31).To<int>(),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("2147483648 does not fit into 32 bits")));
  EXPECT_THAT(Object(-1).To<uint64_t>(),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(Object(kMaxUnsigned).To<int64_t>(),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(Object(kMax).To<double>(),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(ObjectTest, IntegersOfAnySizeAreExact) {
  const Object large = Object::IntFromBytes(std::string(20, '\x7f'));
  EXPECT_EQ(large.Repr(), "727885129180488904360266563744972327436484050815");
  EXPECT_EQ(large.int64(), std::nullopt);
  EXPECT_EQ(large.IntBytes(), std::string(20, '\x7f'));
  EXPECT_EQ(Object(kMaxUnsigned).Repr(), "18446744073709551615");
  EXPECT_EQ(Object(kMin).Repr(), "-9223372036854775808");
  EXPECT_EQ(Object::IntFromBytes({"\0\0\0\0\0\0\0\0\xff", 9}).Repr(),
            "-18446744073709551616");
  EXPECT_EQ(Object::IntFromBytes("").Repr(), "0");
}

TEST(ObjectTest, NeedlessBytesOfAnIntegerAreDropped) {
  EXPECT_EQ(Object::IntFromBytes({"\x05\0\0\0\0\0\0\0\0\0", 10}).int64(), 5);
  EXPECT_EQ(Object::IntFromBytes(std::string(30, '\xff')).int64(), -1);
  EXPECT_EQ(Object::IntFromBytes({"\x80\0", 2}).int64(), 128);
  EXPECT_EQ(Object(128).IntBytes(), std::string("\x80\0", 2));
  EXPECT_EQ(Object(-128).IntBytes(), "\x80");
  EXPECT_EQ(Object(0).IntBytes(), "");
  EXPECT_EQ(Object("x").IntBytes(), "");
}

TEST(ObjectTest, NumbersAreEqualByValue) {
  EXPECT_EQ(Object(1), Object(true));
  EXPECT_EQ(Object(1), Object(1.0));
  EXPECT_EQ(Object(0.0), Object(-0.0));
  EXPECT_EQ(Object(kMaxUnsigned), Object(kMaxUnsigned));
  EXPECT_EQ(Object(std::ldexp(1.0, 100)),
            Object::IntFromBytes(std::string(12, '\0') + '\x10'));
  EXPECT_NE(Object(std::ldexp(1.0, 100)),
            Object::IntFromBytes('\x01' + std::string(11, '\0') + '\x10'));
  EXPECT_NE(Object(kMax), Object(static_cast<double>(kMax)));
  EXPECT_NE(Object(kMaxUnsigned), Object(kMax));
  EXPECT_NE(Object(std::nan("")), Object(std::nan("")));
  EXPECT_NE(Object(INFINITY), Object::IntFromBytes(std::string(300, '\x7f')));
  EXPECT_NE(Object(1), Object("1"));
  EXPECT_NE(Object(0), Object());
}

TEST(ObjectTest, EqualityIsPythons) {
  EXPECT_EQ(Object::Bytes("x"), Object::ByteArray("x"));
  EXPECT_NE(Object::Bytes("x"), Object("x"));
  EXPECT_EQ(Object::Set({1, 2, "3"}), Object::FrozenSet({"3", 2.0, 1}));
  EXPECT_NE(Object::Set({1, 2}), Object::Set({1, 3}));
  EXPECT_NE(Object::Set({1}), Object::Set({1, 3}));
  EXPECT_NE(Object::List({1}), Object::Tuple({1}));
  EXPECT_NE(Object::List({1}), Object::List({1, 2}));
  EXPECT_EQ(Object::Dict({{"a", 1}, {"b", Object::List({2})}}),
            Object::Dict({{"b", Object::List({2})}, {"a", 1}}));
  EXPECT_NE(Object::Dict({{"a", 1}}), Object::Dict({{"a", 2}}));
  EXPECT_NE(Object::Dict({{"a", 1}}), Object::Dict({{"b", 1}}));
  EXPECT_EQ(Object::Exception("KeyError", {"k"}),
            Object::Exception("KeyError", {"k"}));
  EXPECT_NE(Object::Exception("KeyError", {"k"}),
            Object::Exception("IndexError", {"k"}));
}

TEST(ObjectTest, EqualOnesHaveEqualHashes) {
  const auto hash = [](const Object& object) { return absl::HashOf(object); };
  EXPECT_EQ(hash(1), hash(1.0));
  EXPECT_EQ(hash(1), hash(true));
  EXPECT_EQ(hash(std::ldexp(1.0, 100)),
            hash(Object::IntFromBytes(std::string(12, '\0') + '\x10')));
  EXPECT_EQ(hash(Object::FrozenSet({1, "a"})),
            hash(Object::FrozenSet({"a", 1.0})));
  EXPECT_EQ(hash(Object::Tuple({1, "a"})), hash(Object::Tuple({1.0, "a"})));
  EXPECT_NE(hash(Object::Tuple({1, "a"})), hash(Object::Tuple({"a", 1})));
  EXPECT_EQ(absl::flat_hash_set<Object>({1, "a", 1.0, "a", nullptr}).size(), 3);
}

TEST(ObjectTest, KeysAreFoundInOrderOfInsertion) {
  Object::Pairs pairs;
  for (int i = 0; i < 1000; ++i) pairs.emplace_back(Object(i * 7919), i);
  pairs.emplace_back(0.0, "again");
  const absl::StatusOr<Object> dict = Object::MakeDict(std::move(pairs));
  ASSERT_THAT(dict, IsOk());
  ASSERT_EQ(dict->size(), 1000);
  EXPECT_EQ(dict->dict()->front(), std::make_pair(Object(0), Object("again")));
  for (int i = 1; i < 1000; ++i) {
    ASSERT_NE(dict->Find(i * 7919), nullptr);
    EXPECT_EQ(*dict->Find(i * 7919), Object(i));
    EXPECT_EQ(dict->dict()->at(i).second, Object(i));
  }
  EXPECT_EQ(dict->Find(1), nullptr);
  EXPECT_EQ(dict->Find(Object::List({})), nullptr);
  EXPECT_EQ(Object(1).Find(1), nullptr);
  EXPECT_TRUE(Object::Set({"a", 2}).Contains(2));
  EXPECT_FALSE(Object::Set({"a", 2}).Contains(3));
}

TEST(ObjectTest, WhatCanChangeInPythonIsNoKey) {
  EXPECT_THAT(Object::MakeDict({{Object::List({1}), 2}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not hashable: list [1]")));
  EXPECT_THAT(Object::MakeSet({Object::Tuple({1, Object::Dict()})}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Object::MakeFrozenSet({Object::Set({})}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_FALSE(Object::ByteArray("x").hashable());
  EXPECT_TRUE(Object::Tuple({1, Object::FrozenSet({2})}).hashable());
}

TEST(ObjectTest, KeysHaveALimitToTheirDepth) {
  Object key = 1;
  for (uint32_t i = 1; i < Object::kMaxKeyDepth; ++i) {
    key = Object::Tuple({key});
  }
  const absl::StatusOr<Object> set = Object::MakeSet({key, key});
  ASSERT_THAT(set, IsOk());
  EXPECT_EQ(set->size(), 1);
  EXPECT_THAT(Object::MakeSet({Object::Tuple({key})}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("200")));
}

TEST(ObjectTest, DepthTakesNoStack) {
  const Object a = Nested(kDeep);
  const Object b = Nested(kDeep);
  EXPECT_EQ(a.extent().depth, kDeep + 1);
  EXPECT_EQ(a.extent().objects, kDeep + 1);
  EXPECT_TRUE(a == b);
  EXPECT_TRUE(a != Object::List({b}));
  EXPECT_EQ(a.Repr(10 * kDeep).size(), 2 * kDeep + 4);
  EXPECT_EQ(absl::HashOf(a), absl::HashOf(b));
}

TEST(ObjectTest, DepthTakesNoStackWhateverTheContainer) {
  const auto nested = [] {
    Object object = Object::Dict();
    for (int i = 0; i < kDeep / 3; ++i) {
      object = Object::Exception("KeyError", {Object::Dict({{1, object}})});
    }
    return object;
  };
  const Object object = nested();
  EXPECT_TRUE(object == nested());
  EXPECT_EQ(object.Repr(30), "KeyError({1: KeyError({1: KeyE...");
}

TEST(ObjectTest, WhatIsSharedCountsEachTime) {
  Object twice = Object::List({});
  for (int i = 0; i < 10; ++i) twice = Object::List({twice, twice});
  EXPECT_EQ(twice.extent().objects, 2047);
  for (int i = 0; i < 60; ++i) twice = Object::List({twice, twice});
  EXPECT_EQ(twice.extent().objects, kMaxUnsigned);
  EXPECT_EQ(twice.extent().depth, 71);
}

TEST(ObjectTest, CopiesShareAndDoNotChange) {
  Object a = Object::List({"long enough not to be in the string itself"});
  const Object b = a;
  EXPECT_EQ(a.list(), b.list());
  a = a.list()->at(0);  // Part of itself.
  EXPECT_EQ(*a.str(), "long enough not to be in the string itself");
  EXPECT_EQ(b.size(), 1);
  Object c = std::move(a);
  EXPECT_TRUE(a.is_none());  // NOLINT(bugprone-use-after-move)
  Object& alias = c;
  c = alias;
  EXPECT_EQ(c.size(), 42);
  Object d = Object::List({Object::List({7})});
  d = std::move(const_cast<Object&>(d.list()->at(0)));
  EXPECT_EQ(d, Object::List({7}));
}

TEST(ObjectTest, ReprIsCutWithinItsLimit) {
  EXPECT_EQ(Object(std::string(100, 'x')).Repr(10), "'xxxxxxxxx...");
  EXPECT_EQ(Object::List({1, 2, 3}).Repr(4), "[1, ...");
  EXPECT_EQ(Object::List({1, 2, 3}).Repr(9), "[1, 2, 3]");
  // Not within a letter.
  EXPECT_EQ(Object("ééé").Repr(4), "'é...");
  // One of 2^200 parts.
  Object twice = Object::List({});
  for (int i = 0; i < 200; ++i) twice = Object::List({twice, twice});
  EXPECT_EQ(twice.Repr(100).size(), 103);
}

TEST(ObjectTest, RecordsShowWhatTheyAre) {
  EXPECT_EQ(Object::Exception("KeyError", {"k", 2}).Repr(), "KeyError('k', 2)");
  EXPECT_EQ(Object::FromRecord({.module = "queue", .name = "Empty"}).Repr(),
            "queue.Empty()");
  EXPECT_EQ(Object::FromRecord({.module = "a",
                                .name = "B",
                                .args = Object::Tuple({1}),
                                .state = Object::Dict({{"x", 2}})})
                .Repr(),
            "a.B(1, state={'x': 2})");
  EXPECT_EQ(Object::FromRecord({.module = "a", .name = "B", .args = {}}).Repr(),
            "a.B");
}

TEST(ObjectTest, Travels) {
  const Object object = Object::Dict(
      {{"k", Object::List({1, 2.5, "x", Object::Bytes("y"), nullptr})}});
  Encoder encoder;
  encoder.Write(std::vector<Object>{object, object});
  absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
  ASSERT_THAT(parcel, IsOk());
  Decoder decoder(*std::move(parcel));
  EXPECT_THAT(decoder.Read<std::vector<Object>>(),
              IsOkAndHolds(std::vector<Object>{object, object}));
  EXPECT_THAT(decoder.ExpectEnd(), IsOk());
}

TEST(ObjectTest, WhatCannotTravelIsSaidToTheSender) {
  Encoder encoder;
  encoder.Write(Object::List({"\xff"}));
  EXPECT_THAT(std::move(encoder).Finish(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'\\xff' is not UTF-8 at its byte 0")));
}

}  // namespace
}  // namespace mp
