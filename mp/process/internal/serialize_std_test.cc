#include "mp/process/internal/serialize_std.h"

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
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "absl/types/variant.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/fields.h"
#include "mp/process/internal/round_trip.h"
#include "mp/testing/status_matchers.h"

namespace mp {

// A type with a Serializer of its own and no default constructor.
class Port {
 public:
  explicit Port(int number) : number_(number) {}
  int number() const { return number_; }
  bool operator==(const Port&) const = default;

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

namespace {

using ::mp::testing::Pack;
using ::mp::testing::RoundTrip;
using ::mp::testing::StatusIs;
using ::mp::testing::Travels;
using ::mp::testing::Unpack;
using ::testing::HasSubstr;
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

TEST(SerializeStdTest, FloatingPointKeepsItsBits) {
  EXPECT_TRUE(Travels(std::numeric_limits<double>::infinity()));
  EXPECT_TRUE(std::signbit(*RoundTrip(-0.0)));
  const double nan = std::nan("0x1234");
  const double copy = *RoundTrip(nan);
  EXPECT_EQ(std::memcmp(&copy, &nan, sizeof(nan)), 0);
}

TEST(SerializeStdTest, BoolIsZeroOrOne) {
  EXPECT_TRUE(Travels(true));
  EXPECT_TRUE(Travels(false));
  EXPECT_THAT(Unpack<bool>("\2"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("0 or 1")));
}

enum class Colour : uint8_t { kRed, kGreen = 255 };
enum Unscoped { kMinusOne = -1, kOne = 1 };
enum class Switch : bool { kOff, kOn };

TEST(SerializeStdTest, EnumsTravel) {
  EXPECT_TRUE(Travels(Colour::kGreen));
  EXPECT_TRUE(Travels(kMinusOne));
  EXPECT_TRUE(Travels(Switch::kOn));
  EXPECT_TRUE(Travels(std::byte{200}));
  EXPECT_THAT(Unpack<Switch>("\2"), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(SerializeStdTest, StringsTravel) {
  EXPECT_TRUE(Travels(std::string()));
  EXPECT_TRUE(Travels(std::string("a\0b", 3)));
  EXPECT_TRUE(Travels(std::string(300, 'x')));
  EXPECT_TRUE(Travels(std::wstring(L"wide")));
  // gtest may lack what prints these.
  EXPECT_TRUE(RoundTrip(std::u8string(u8"\u00e4")).value() == u8"\u00e4");
  EXPECT_TRUE(Travels(std::u16string(u"\u00e4")));
  EXPECT_TRUE(Travels(std::u32string(U"\u00e4")));
}

TEST(SerializeStdTest, PathsTravel) {
  EXPECT_TRUE(Travels(std::filesystem::path()));
  EXPECT_TRUE(Travels(std::filesystem::path("/usr/../lib/x y")));
}

TEST(SerializeStdTest, SequencesTravel) {
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

TEST(SerializeStdTest, SetsTravel) {
  EXPECT_TRUE(Travels(std::set<int>{3, 1, 2}));
  EXPECT_TRUE(Travels(std::multiset<int>{3, 1, 3}));
  EXPECT_TRUE(Travels(std::unordered_set<std::string>{"a", "b"}));
  EXPECT_TRUE(Travels(std::unordered_multiset<int>{1, 1, 2}));
  EXPECT_TRUE(Travels(std::set<int, std::greater<>>{3, 1, 2}));
}

TEST(SerializeStdTest, MapsTravel) {
  EXPECT_TRUE(Travels(std::map<std::string, int>{{"a", 1}, {"b", 2}}));
  EXPECT_TRUE(Travels(std::multimap<int, int>{{1, 1}, {1, 2}}));
  EXPECT_TRUE(
      Travels(std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}}));
  EXPECT_TRUE(Travels(std::unordered_multimap<int, int>{{1, 1}, {1, 2}}));
}

TEST(SerializeStdTest, PairsAndTuplesTravel) {
  EXPECT_TRUE(Travels(std::pair<int, std::string>{1, "a"}));
  EXPECT_TRUE(Travels(std::pair<const int, const std::string>{1, "a"}));
  EXPECT_TRUE(Travels(std::tuple<>()));
  EXPECT_TRUE(Travels(std::tuple<int>{1}));
  EXPECT_TRUE(Travels(std::tuple<std::tuple<int>>{{1}}));
  EXPECT_TRUE(Travels(std::tuple<int, std::string, double>{1, "a", 0.5}));
}

// Each half has an error of its own.
TEST(SerializeStdTest, FirstErrorOfATupleCounts) {
  EXPECT_THAT(
      (Unpack<std::tuple<bool, Switch, bool>>(std::string("\0\7\1\x09", 4))),
      StatusIs(absl::StatusCode::kDataLoss, StartsWith("Decoder: 7")));
}

TEST(SerializeStdTest, OptionalsTravel) {
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

TEST(SerializeStdTest, VariantsTravel) {
  using Standard = std::variant<std::monostate, int, std::string>;
  EXPECT_TRUE(Travels(Standard()));
  EXPECT_TRUE(Travels(Standard(1)));
  EXPECT_TRUE(Travels(Standard("a")));
  using Abseil = absl::variant<absl::monostate, int, std::string>;
  EXPECT_TRUE(Travels(Abseil()));
  EXPECT_TRUE(Travels(Abseil(1)));
  EXPECT_TRUE(Travels(Abseil("a")));
}

TEST(SerializeStdTest, VariantsTravelWhateverTheirAlternatives) {
  using Same = std::variant<int, int>;
  EXPECT_TRUE(Travels(Same(std::in_place_index<0>, 1)));
  EXPECT_TRUE(Travels(Same(std::in_place_index<1>, 1)));
  EXPECT_TRUE(Travels(std::variant<Port, int>(Port(80))));
  EXPECT_TRUE(Travels(absl::variant<Port, int>(Port(80))));
}

TEST(SerializeStdTest, RefusesAlternativesThatAreNotThere) {
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

TEST(SerializeStdTest, RefusesToSendVariantsWithoutValue) {
  std::variant<int, ThrowsWhenCopied> variant;
  const ThrowsWhenCopied value;
  EXPECT_THROW(variant.emplace<1>(value), std::runtime_error);
  ASSERT_TRUE(variant.valueless_by_exception());
  EXPECT_THAT(Pack(variant), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("valueless")));
}

TEST(SerializeStdTest, TimesTravel) {
  EXPECT_TRUE(Travels(std::chrono::milliseconds(-5)));
  EXPECT_TRUE(Travels(std::chrono::nanoseconds::max()));
  EXPECT_TRUE(Travels(std::chrono::duration<double>(0.5)));
  EXPECT_TRUE(Travels(std::chrono::system_clock::time_point::min()));
  EXPECT_TRUE(Travels(
      std::chrono::steady_clock::time_point(std::chrono::nanoseconds(7))));
}

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
  EXPECT_GT(largest_allocation_bytes, 0u);
  EXPECT_LE(largest_allocation_bytes, 16 * sizeof(std::string));
}

}  // namespace
}  // namespace mp
