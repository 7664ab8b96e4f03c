#include "mp/process/serializer.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <filesystem>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/container/node_hash_map.h"
#include "absl/container/node_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "absl/types/variant.h"
#include "absl/utility/utility.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/round_trip.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {

// A type with a Serializer of its own and no default constructor.
class Port {
 public:
  explicit Port(int number) : number_(number) {}
  int number() const { return number_; }
  bool operator==(const Port&) const = default;
  auto operator<=>(const Port&) const = default;

 private:
  int number_;
};

template <>
struct Serializer<Port> {
  static void Encode(const Port& port, Encoder& encoder) {
    encoder.Write(port.number());
  }
  static absl::StatusOr<Port> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const int number, decoder.Read<int>());
    if (number < 0) return absl::DataLossError("a negative port");
    return Port(number);
  }
};

template <>
struct Serializer<Fd> {
  static void Encode(const Fd& fd, Encoder& encoder) {
    encoder.WriteHandle(fd.get());
  }
  static absl::StatusOr<Fd> Decode(Decoder& decoder) {
    return decoder.ReadHandle();
  }
};

namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::Pack;
using ::mp::testing::RoundTrip;
using ::mp::testing::StatusIs;
using ::mp::testing::Travels;
using ::mp::testing::Unpack;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

template <typename T>
std::vector<T> Extremes() {
  using Limits = std::numeric_limits<T>;
  return {Limits::lowest(), Limits::min(), T(0), T(1), Limits::max()};
}

template <typename T>
class NumberTest : public ::testing::Test {};
using Numbers =
    ::testing::Types<char, signed char, unsigned char, wchar_t, char8_t,
                     char16_t, char32_t, short, unsigned short, int, unsigned,
                     long, unsigned long, long long, unsigned long long, float,
                     double, long double>;
TYPED_TEST_SUITE(NumberTest, Numbers);

TYPED_TEST(NumberTest, Travels) {
  for (const TypeParam number : Extremes<TypeParam>()) {
    EXPECT_TRUE(Travels(number));
  }
}

TYPED_TEST(NumberTest, TravelsInAVector) {
  EXPECT_TRUE(Travels(Extremes<TypeParam>()));
}

TEST(SerializerTest, FloatingPointKeepsItsBits) {
  EXPECT_TRUE(Travels(std::numeric_limits<double>::infinity()));
  EXPECT_TRUE(std::signbit(*RoundTrip(-0.0)));
  const double nan = std::nan("0x1234");
  const double copy = *RoundTrip(nan);
  EXPECT_EQ(std::memcmp(&copy, &nan, sizeof(nan)), 0);
}

TEST(SerializerTest, BoolIsZeroOrOne) {
  EXPECT_TRUE(Travels(true));
  EXPECT_TRUE(Travels(false));
  EXPECT_THAT(Unpack<bool>("\2"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("0 or 1")));
}

enum class Colour : uint8_t { kRed, kGreen = 255 };
enum Unscoped { kMinusOne = -1, kOne = 1 };
enum class Switch : bool { kOff, kOn };

TEST(SerializerTest, EnumsTravel) {
  EXPECT_TRUE(Travels(Colour::kGreen));
  EXPECT_TRUE(Travels(kMinusOne));
  EXPECT_TRUE(Travels(Switch::kOn));
  EXPECT_TRUE(Travels(std::byte{200}));
  EXPECT_THAT(Unpack<Switch>("\2"), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(SerializerTest, StringsTravel) {
  EXPECT_TRUE(Travels(std::string()));
  EXPECT_TRUE(Travels(std::string("a\0b", 3)));
  EXPECT_TRUE(Travels(std::string(300, 'x')));
  EXPECT_TRUE(Travels(std::wstring(L"wide")));
  // gtest may lack what prints these.
  EXPECT_TRUE(RoundTrip(std::u8string(u8"\u00e4")).value() == u8"\u00e4");
  EXPECT_TRUE(Travels(std::u16string(u"\u00e4")));
  EXPECT_TRUE(Travels(std::u32string(U"\u00e4")));
}

TEST(SerializerTest, PathsTravel) {
  EXPECT_TRUE(Travels(std::filesystem::path()));
  EXPECT_TRUE(Travels(std::filesystem::path("/usr/../lib/x y")));
}

TEST(SerializerTest, CordsTravel) {
  absl::Cord cord("in");
  EXPECT_TRUE(Travels(cord));
  cord.Append(absl::MakeCordFromExternal(" several", [] {}));
  cord.Append(absl::MakeCordFromExternal(" chunks", [] {}));
  EXPECT_TRUE(Travels(cord));
  EXPECT_TRUE(Travels(absl::Cord()));
}

TEST(SerializerTest, StandardSequencesTravel) {
  EXPECT_TRUE(Travels(std::vector<int>()));
  EXPECT_TRUE(Travels(std::vector<int>{1, 2, 3}));
  EXPECT_TRUE(Travels(std::vector<std::string>{"a", "", "b"}));
  EXPECT_TRUE(Travels(std::vector<bool>{true, false, true}));
  EXPECT_TRUE(Travels(std::vector<std::byte>{std::byte{1}, std::byte{2}}));
  EXPECT_TRUE(Travels(std::deque<int>{1, 2}));
  EXPECT_TRUE(Travels(std::list<std::string>{"a", "b"}));
  EXPECT_TRUE(Travels(std::array<int, 3>{1, 2, 3}));
  EXPECT_TRUE(Travels(std::array<std::string, 2>{"a", "b"}));
  EXPECT_TRUE(Travels(std::array<int, 0>()));
}

TEST(SerializerTest, StandardSetsTravel) {
  EXPECT_TRUE(Travels(std::set<int>{3, 1, 2}));
  EXPECT_TRUE(Travels(std::multiset<int>{3, 1, 3}));
  EXPECT_TRUE(Travels(std::unordered_set<std::string>{"a", "b"}));
  EXPECT_TRUE(Travels(std::unordered_multiset<int>{1, 1, 2}));
  EXPECT_TRUE(Travels(std::set<int, std::greater<>>{3, 1, 2}));
}

TEST(SerializerTest, StandardMapsTravel) {
  EXPECT_TRUE(Travels(std::map<std::string, int>{{"a", 1}, {"b", 2}}));
  EXPECT_TRUE(Travels(std::multimap<int, int>{{1, 1}, {1, 2}}));
  EXPECT_TRUE(
      Travels(std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}}));
  EXPECT_TRUE(Travels(std::unordered_multimap<int, int>{{1, 1}, {1, 2}}));
}

TEST(SerializerTest, AbseilContainersTravel) {
  EXPECT_TRUE(Travels(absl::InlinedVector<int, 2>{1, 2, 3}));
  EXPECT_TRUE(Travels(absl::InlinedVector<std::string, 2>{"a"}));
  EXPECT_TRUE(Travels(absl::flat_hash_set<std::string>{"a", "b"}));
  EXPECT_TRUE(
      Travels(absl::flat_hash_map<std::string, int>{{"a", 1}, {"b", 2}}));
  EXPECT_TRUE(Travels(absl::node_hash_set<int>{1, 2}));
  EXPECT_TRUE(Travels(absl::node_hash_map<int, std::string>{{1, "a"}}));
  EXPECT_TRUE(Travels(absl::btree_set<int>{2, 1}));
  EXPECT_TRUE(Travels(absl::btree_multiset<int>{1, 1}));
  EXPECT_TRUE(Travels(absl::btree_map<int, std::string>{{1, "a"}}));
  EXPECT_TRUE(Travels(absl::btree_multimap<int, int>{{1, 1}, {1, 2}}));
}

TEST(SerializerTest, ContainersOfContainersTravel) {
  EXPECT_TRUE(Travels(std::vector<std::vector<int>>{{1}, {}, {2, 3}}));
  EXPECT_TRUE(
      Travels(std::map<std::string, std::vector<std::optional<std::string>>>{
          {"a", {"x", std::nullopt}}, {"b", {}}}));
  EXPECT_TRUE(
      Travels(absl::flat_hash_map<int, std::set<std::pair<int, std::string>>>{
          {1, {{2, "b"}, {1, "a"}}}}));
  EXPECT_TRUE(Travels(std::set<std::vector<std::string>>{{"a", "b"}, {}}));
}

TEST(SerializerTest, PairsAndTuplesTravel) {
  EXPECT_TRUE(Travels(std::pair<int, std::string>{1, "a"}));
  EXPECT_TRUE(Travels(std::pair<const int, const std::string>{1, "a"}));
  EXPECT_TRUE(Travels(std::tuple<>()));
  EXPECT_TRUE(Travels(std::tuple<int>{1}));
  EXPECT_TRUE(Travels(std::tuple<std::tuple<int>>{{1}}));
  EXPECT_TRUE(Travels(std::tuple<int, std::string, double>{1, "a", 0.5}));
}

// Each half has an error of its own.
TEST(SerializerTest, FirstErrorOfATupleCounts) {
  EXPECT_THAT(
      (Unpack<std::tuple<bool, Switch, bool>>(std::string("\0\7\1\x09", 4))),
      StatusIs(absl::StatusCode::kDataLoss, StartsWith("Decoder: 7")));
}

TEST(SerializerTest, OptionalsTravel) {
  EXPECT_TRUE(Travels(std::optional<std::string>()));
  EXPECT_TRUE(Travels(std::optional<std::string>("a")));
  EXPECT_TRUE(Travels(absl::optional<std::string>()));
  EXPECT_TRUE(Travels(absl::optional<std::string>("a")));
  EXPECT_TRUE(Travels(std::optional<Port>(80)));
  using Twice = std::optional<std::optional<int>>;
  EXPECT_TRUE(Travels(Twice()));
  EXPECT_TRUE(Travels(Twice(std::optional<int>())));
  EXPECT_TRUE(Travels(Twice(std::optional<int>(1))));
  EXPECT_THAT(Unpack<std::optional<int>>("\2"),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST(SerializerTest, VariantsTravel) {
  using Standard = std::variant<std::monostate, int, std::string>;
  EXPECT_TRUE(Travels(Standard()));
  EXPECT_TRUE(Travels(Standard(1)));
  EXPECT_TRUE(Travels(Standard("a")));
  using Abseil = absl::variant<absl::monostate, int, std::string>;
  EXPECT_TRUE(Travels(Abseil()));
  EXPECT_TRUE(Travels(Abseil(1)));
  EXPECT_TRUE(Travels(Abseil("a")));
}

TEST(SerializerTest, VariantsTravelWhateverTheirAlternatives) {
  using Same = std::variant<int, int>;
  EXPECT_TRUE(Travels(Same(std::in_place_index<0>, 1)));
  EXPECT_TRUE(Travels(Same(std::in_place_index<1>, 1)));
  EXPECT_TRUE(Travels(std::variant<Port, int>(Port(80))));
  EXPECT_TRUE(Travels(absl::variant<Port, int>(Port(80))));
}

TEST(SerializerTest, RefusesAlternativesThatAreNotThere) {
  using Two = std::variant<int, bool>;
  EXPECT_THAT(Unpack<Two>("\2\1"),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("alternative 2 of a variant of 2")));
  EXPECT_THAT(Unpack<Two>("\1\7"), StatusIs(absl::StatusCode::kDataLoss));
}

struct ThrowsWhenCopied {
  ThrowsWhenCopied() = default;
  ThrowsWhenCopied(const ThrowsWhenCopied&) {
    throw std::runtime_error("copied");
  }
  ThrowsWhenCopied& operator=(const ThrowsWhenCopied&) = default;
  int number = 0;
  MP_FIELDS(number)
};

TEST(SerializerTest, RefusesToSendVariantsWithoutValue) {
  std::variant<int, ThrowsWhenCopied> variant;
  const ThrowsWhenCopied value;
  EXPECT_THROW(variant.emplace<1>(value), std::runtime_error);
  ASSERT_TRUE(variant.valueless_by_exception());
  EXPECT_THAT(Pack(variant), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("valueless")));
}

TEST(SerializerTest, AbseilTimesTravel) {
  const absl::Duration tick = absl::Nanoseconds(1) / 4;
  const absl::Duration largest = absl::Seconds(INT64_MAX) + absl::Seconds(1);
  ASSERT_EQ(largest, absl::InfiniteDuration());
  for (const absl::Duration duration :
       {absl::ZeroDuration(), tick, absl::Seconds(1.5), absl::Hours(1) - tick,
        absl::Seconds(INT64_MAX), absl::Seconds(INT64_MAX) + 3 * tick,
        absl::InfiniteDuration()}) {
    EXPECT_TRUE(Travels(duration)) << duration;
    EXPECT_TRUE(Travels(-duration)) << -duration;
    EXPECT_TRUE(Travels(absl::UnixEpoch() + duration)) << duration;
    EXPECT_TRUE(Travels(absl::UnixEpoch() - duration)) << duration;
  }
  EXPECT_TRUE(Travels(absl::Seconds(INT64_MIN)));
  EXPECT_TRUE(Travels(absl::Seconds(INT64_MIN) + tick));
  EXPECT_TRUE(Travels(absl::InfiniteFuture()));
  EXPECT_TRUE(Travels(absl::InfinitePast()));
  EXPECT_TRUE(Travels(absl::UniversalEpoch()));
}

TEST(SerializerTest, RefusesForgedDurations) {
  const std::string kind_is_3(1 + 8 + 8, '\3');
  EXPECT_THAT(Unpack<absl::Duration>(kind_is_3),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("Duration")));
  const std::string ticks_of_years = std::string(1 + 8, '\0') + "longlong";
  EXPECT_THAT(Unpack<absl::Duration>(ticks_of_years),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("Duration")));
}

TEST(SerializerTest, StandardTimesTravel) {
  EXPECT_TRUE(Travels(std::chrono::milliseconds(-5)));
  EXPECT_TRUE(Travels(std::chrono::nanoseconds::max()));
  EXPECT_TRUE(Travels(std::chrono::duration<double>(0.5)));
  EXPECT_TRUE(Travels(std::chrono::system_clock::time_point::min()));
  EXPECT_TRUE(Travels(
      std::chrono::steady_clock::time_point(std::chrono::nanoseconds(7))));
}

absl::Status StatusWithPayloads() {
  absl::Status status = absl::DataLossError("with payloads");
  status.SetPayload("mp/one", absl::Cord("1"));
  status.SetPayload("mp/none", absl::Cord());
  return status;
}

TEST(SerializerTest, StatusTravels) {
  EXPECT_TRUE(Travels(absl::OkStatus()));
  EXPECT_TRUE(Travels(absl::NotFoundError("")));
  EXPECT_TRUE(Travels(absl::UnauthenticatedError("who?")));
  EXPECT_TRUE(Travels(StatusWithPayloads()));
}

TEST(SerializerTest, StatusTravelsInOtherValues) {
  using absl::Status;
  EXPECT_TRUE(
      Travels(std::vector<Status>{absl::OkStatus(), StatusWithPayloads()}));
  EXPECT_TRUE(Travels(std::array<Status, 1>{absl::AbortedError("a")}));
  EXPECT_TRUE(Travels(std::pair<Status, int>{absl::AbortedError("a"), 1}));
  EXPECT_TRUE(Travels(std::tuple<Status, Status>{absl::AbortedError("a"), {}}));
  EXPECT_TRUE(Travels(std::optional<Status>(absl::AbortedError("a"))));
  EXPECT_TRUE(Travels(std::variant<int, Status>(absl::AbortedError("a"))));
  EXPECT_TRUE(Travels(std::map<int, Status>{{1, absl::AbortedError("a")}}));
}

TEST(SerializerTest, StatusOrTravels) {
  EXPECT_TRUE(Travels(absl::StatusOr<int>(1)));
  EXPECT_TRUE(Travels(absl::StatusOr<std::string>(StatusWithPayloads())));
  using Twice = absl::StatusOr<absl::StatusOr<std::string>>;
  EXPECT_TRUE(Travels(Twice(absl::StatusOr<std::string>("a"))));
  EXPECT_TRUE(Travels(Twice(absl::AbortedError("the outer"))));
  EXPECT_TRUE(Travels(Twice(absl::in_place, absl::AbortedError("the inner"))));
  EXPECT_TRUE(
      Travels(std::vector<absl::StatusOr<int>>{1, absl::AbortedError("a")}));
}

TEST(SerializerTest, RefusesForgedStatuses) {
  EXPECT_THAT(
      Unpack<absl::Status>("\x11"),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("17 is no absl::")));
  EXPECT_THAT(Unpack<absl::StatusOr<int>>("\x11"),
              StatusIs(absl::StatusCode::kDataLoss));
}

// Structs.

struct Job {
  std::string path;
  std::vector<int> lines = {};
  int not_sent = 7;
  bool operator==(const Job&) const = default;
  MP_FIELDS(path, lines)
};

class Private {
 public:
  Private() = default;
  explicit Private(std::string text) : text_(std::move(text)) {}
  bool operator==(const Private&) const = default;

 private:
  MP_FIELDS(text_)
  std::string text_;
};

struct WithArrays {
  char name[4] = {};
  std::string table[2][2];
  bool operator==(const WithArrays&) const = default;
  MP_FIELDS(name, table)
};

struct Tree {
  int value = 0;
  std::vector<Tree> children = {};
  bool operator==(const Tree&) const = default;
  MP_FIELDS(value, children)
};

struct WithoutFields {
  bool operator==(const WithoutFields&) const = default;
  MP_FIELDS()
};

struct Derived : Job {
  int more = 0;
};
struct DerivedWithFields : Job {
  int more = 0;
  bool operator==(const DerivedWithFields&) const = default;
  MP_FIELDS(path, lines, more)
};

TEST(SerializerTest, StructsWithFieldsTravel) {
  EXPECT_TRUE(Travels(Job{.path = "a", .lines = {1, 2}}));
  EXPECT_TRUE(Travels(Private("a")));
  EXPECT_TRUE(Travels(WithArrays{"abc", {{"a", "b"}, {"c", "d"}}}));
  EXPECT_TRUE(Travels(Tree{1, {{2}, {3, {{4}}}}}));
  EXPECT_TRUE(Travels(WithoutFields()));
  EXPECT_TRUE(Travels(std::map<int, Job>{{1, {.path = "a"}}}));
  EXPECT_TRUE(Travels(Port(80)));
}

TEST(SerializerTest, OtherFieldsGetTheirDefault) {
  EXPECT_EQ(RoundTrip(Job{.path = "a", .not_sent = 8})->not_sent, 7);
}

TEST(SerializerTest, DerivedStructTravelsWithFieldsOfItsOwn) {
  static_assert(internal::Travels<Job>);
  static_assert(!internal::Travels<Derived>);
  DerivedWithFields value;
  value.path = "a";
  value.more = 3;
  EXPECT_TRUE(Travels(value));
}

TEST(SerializerTest, OwnSerializerMayRefuse) {
  EXPECT_THAT(Unpack<Port>("\xff\xff\xff\xff"),
              StatusIs(absl::StatusCode::kDataLoss, "a negative port"));
}

// A tree takes two levels for each of its own, a value and a vector.
Tree TreeOfHeight(int height) {
  Tree tree;
  for (; height > 1; --height) {
    Tree above;
    above.children.push_back(std::move(tree));
    tree = std::move(above);
  }
  return tree;
}

TEST(SerializerTest, NestingHasALimitAtTheSender) {
  EXPECT_THAT(RoundTrip(TreeOfHeight(kMaxNesting / 2)), IsOk());
  EXPECT_THAT(Pack(TreeOfHeight(kMaxNesting / 2 + 1)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("nested more than 200 levels")));
}

TEST(SerializerTest, NestingHasALimitAtTheReceiver) {
  std::string bytes;
  for (int i = 0; i < 10'000; ++i) bytes += std::string("\0\0\0\0\0\1", 6);
  EXPECT_THAT(Unpack<Tree>(bytes),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("nested more than 200 levels")));
}

// Code.

int Twice(int x) { return 2 * x; }
int TwiceSafely(int x) noexcept { return 2 * x; }

TEST(SerializerTest, FunctionPointersTravel) {
  EXPECT_TRUE(Travels(&Twice));
  EXPECT_TRUE(Travels(&TwiceSafely));
  EXPECT_TRUE(Travels(std::vector<int (*)(int)>{Twice, TwiceSafely}));
  EXPECT_EQ((*RoundTrip(&Twice))(21), 42);
}

TEST(SerializerTest, RefusesToSendNullFunctions) {
  int (*const null)(int) = nullptr;
  EXPECT_THAT(Pack(null), StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("not to a function")));
}

TEST(SerializerTest, RefusesFunctionsOfOtherPrograms) {
  EXPECT_THAT(Unpack<int (*)(int)>("\3abc\1"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("an image (abc) that this process has not")));
}

struct First {
  int first = 1;
};
struct Second {
  int second = 2;
  int Get() const { return second; }
  void Set(int value) noexcept { second = value; }
};
struct Both : First, Second {};

struct WithVirtual {
  virtual ~WithVirtual() = default;
  virtual int Virtual() const { return 0; }
};

TEST(SerializerTest, MemberFunctionPointersTravel) {
  EXPECT_TRUE(Travels(&Second::Get));
  EXPECT_TRUE(Travels(&Second::Set));
  // What is inherited knows where in the object its own part is.
  int (Both::*const inherited)() const = &Both::Get;
  EXPECT_TRUE(Travels(inherited));
  EXPECT_EQ((Both().*(*RoundTrip(inherited)))(), 2);
}

TEST(SerializerTest, RefusesToSendVirtualMemberFunctions) {
  EXPECT_THAT(
      Pack(&WithVirtual::Virtual),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("virtual member function cannot travel; pass a "
                         "lambda")));
}

// To call one would jump to wherever the object's table of functions says.
TEST(SerializerTest, RefusesForgedVirtualMemberFunctions) {
  const auto code = reinterpret_cast<uintptr_t>(&Twice) | 1;
  Encoder encoder;
  internal::WriteCode(reinterpret_cast<const void*>(code), encoder);
  encoder.Write(ptrdiff_t{0});
  EXPECT_THAT(Unpack<int (Second::*)() const>(*std::move(encoder).Finish()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("virtual")));
}

TEST(SerializerTest, FunctionObjectsWithoutStateTravel) {
  const auto twice = [](int x) { return 2 * x; };
  EXPECT_EQ((*RoundTrip(twice))(21), 42);
  const auto any = [](auto x) { return x + x; };
  EXPECT_EQ((*RoundTrip(any))(std::string("a")), "aa");
  EXPECT_TRUE((*RoundTrip(std::less<>()))(1, 2));
}

// Descriptors.

bool IsSameFile(const Fd& a, const Fd& b) {
  struct stat of_a, of_b;
  return fstat(a.get(), &of_a) == 0 && fstat(b.get(), &of_b) == 0 &&
         of_a.st_ino == of_b.st_ino && of_a.st_dev == of_b.st_dev;
}

class SerializerFdTest : public ::testing::Test {
 protected:
  static Fd Open(const char* path) { return Fd(open(path, O_RDWR)); }

 private:
  LeakCheck leak_check_;
};

TEST_F(SerializerFdTest, DescriptorsTravelInValues) {
  std::vector<std::pair<std::string, Fd>> files;
  files.emplace_back("null", Open("/dev/null"));
  files.emplace_back("zero", Open("/dev/zero"));
  const auto copies = RoundTrip(files);
  ASSERT_THAT(copies, IsOkAndHolds(SizeIs(2)));
  EXPECT_TRUE(IsSameFile(copies->at(0).second, files[0].second));
  EXPECT_TRUE(IsSameFile(copies->at(1).second, files[1].second));
}

TEST_F(SerializerFdTest, DescriptorsOfABrokenParcelClose) {
  absl::StatusOr<Parcel> parcel =
      Pack(std::array{Open("/dev/null"), Open("/dev/zero")});
  ASSERT_THAT(parcel, IsOk());
  parcel->bytes.back() = '\7';
  EXPECT_THAT((Unpack<std::array<Fd, 2>>(*std::move(parcel))),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(SerializerFdTest, OneDescriptorIsNotForTwo) {
  absl::StatusOr<Parcel> parcel =
      Pack(std::array{Open("/dev/null"), Open("/dev/zero")});
  ASSERT_THAT(parcel, IsOk());
  parcel->bytes.back() = '\0';
  EXPECT_THAT((Unpack<std::array<Fd, 2>>(*std::move(parcel))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("taken")));
}

// Memory.

size_t largest_allocation_bytes = 0;

template <typename T>
struct MeasuringAllocator : std::allocator<T> {
  template <typename U>
  struct rebind {
    using other = MeasuringAllocator<U>;
  };
  MeasuringAllocator() = default;
  template <typename U>
  explicit MeasuringAllocator(const MeasuringAllocator<U>&) {}
  T* allocate(size_t count) {
    largest_allocation_bytes =
        std::max(largest_allocation_bytes, count * sizeof(T));
    return std::allocator<T>::allocate(count);
  }
};
template <typename T>
using MeasuredVector = std::vector<T, MeasuringAllocator<T>>;

class ForgedCountTest : public ::testing::Test {
 protected:
  ForgedCountTest() { largest_allocation_bytes = 0; }
};

TEST_F(ForgedCountTest, MustFitInTheParcel) {
  const std::string bytes = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01 and more";
  EXPECT_THAT(Unpack<std::string>(bytes),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a count of")));
  EXPECT_THAT(Unpack<absl::Cord>(bytes), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT((Unpack<std::map<int, int>>(bytes)),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(Unpack<std::vector<std::monostate>>(bytes),
              StatusIs(absl::StatusCode::kDataLoss));
}

// 100 bytes follow, which are no more than 12 numbers.
TEST_F(ForgedCountTest, TakesNoMemoryForNumbersThatAreNotThere) {
  const std::string bytes = '\x64' + std::string(100, 'x');
  EXPECT_THAT(Unpack<MeasuredVector<int64_t>>(bytes),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("a count of 100 in 100 bytes")));
  EXPECT_EQ(largest_allocation_bytes, 0u);
}

TEST_F(ForgedCountTest, TakesMemoryAsItemsCome) {
  const std::string bytes = '\x64' + std::string(100, '\x0a');
  EXPECT_THAT(Unpack<MeasuredVector<std::string>>(bytes),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_LE(largest_allocation_bytes, 16 * sizeof(std::string));
}

// What must not travel.

struct Plain {
  int number;
};

template <typename T>
constexpr bool kTravels = internal::Travels<T>;

static_assert(kTravels<int> && kTravels<std::vector<int>>);
static_assert(!kTravels<int*> && !kTravels<const char*> && !kTravels<void*>);
static_assert(!kTravels<int&> && !kTravels<const int&> && !kTravels<int&&>);
static_assert(!kTravels<std::nullptr_t> && !kTravels<int Plain::*>);
static_assert(!kTravels<std::unique_ptr<int>> &&
              !kTravels<std::shared_ptr<int>>);
static_assert(!kTravels<absl::string_view> && !kTravels<std::string_view>);
static_assert(!kTravels<absl::Span<int>> && !kTravels<std::span<const int>>);
static_assert(!kTravels<std::span<int, 4>>);
static_assert(!kTravels<std::reference_wrapper<int>>);
static_assert(!kTravels<std::function<void()>>);
static_assert(!kTravels<Plain>);

TEST(SerializerTest, LambdasWithCapturesDoNotTravel) {
  int number = 0;
  const auto by_value = [number] { return number; };
  const auto by_reference = [&number] { return number; };
  static_assert(!kTravels<std::remove_const_t<decltype(by_value)>>);
  static_assert(!kTravels<std::remove_const_t<decltype(by_reference)>>);
  const auto by_name = std::bind(Twice, number);
  static_assert(!kTravels<std::remove_const_t<decltype(by_name)>>);
}

}  // namespace
}  // namespace mp
