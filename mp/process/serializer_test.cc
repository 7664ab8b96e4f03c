#include "mp/process/serializer.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/round_trip.h"
#include "mp/process/parcel.h"
#include "mp/testing/leaks.h"
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

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::Pack;
using ::mp::testing::RoundTrip;
using ::mp::testing::StatusIs;
using ::mp::testing::Travels;
using ::mp::testing::Unpack;
using ::testing::HasSubstr;
using ::testing::SizeIs;

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
  const auto by_name = std::bind([](int) {}, number);
  static_assert(!kTravels<std::remove_const_t<decltype(by_name)>>);
}

}  // namespace
}  // namespace mp
