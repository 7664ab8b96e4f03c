#include "mp/process/internal/serialize_code.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/round_trip.h"
#include "mp/process/internal/serialize_std.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::Pack;
using ::mp::testing::RoundTrip;
using ::mp::testing::StatusIs;
using ::mp::testing::Travels;
using ::mp::testing::Unpack;
using ::testing::HasSubstr;

int Twice(int x) { return 2 * x; }
int TwiceSafely(int x) noexcept { return 2 * x; }

TEST(SerializeCodeTest, FunctionPointersTravel) {
  EXPECT_TRUE(Travels(&Twice));
  EXPECT_TRUE(Travels(&TwiceSafely));
  EXPECT_TRUE(Travels(std::vector<int (*)(int)>{Twice, TwiceSafely}));
  EXPECT_EQ((*RoundTrip(&Twice))(21), 42);
}

TEST(SerializeCodeTest, RefusesToSendNullFunctions) {
  int (*const null)(int) = nullptr;
  EXPECT_THAT(Pack(null), StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("not to a function")));
}

TEST(SerializeCodeTest, RefusesFunctionsOfOtherPrograms) {
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

TEST(SerializeCodeTest, MemberFunctionPointersTravel) {
  EXPECT_TRUE(Travels(&Second::Get));
  EXPECT_TRUE(Travels(&Second::Set));
  // What is inherited knows where in the object its own part is.
  int (Both::*const inherited)() const = &Both::Get;
  EXPECT_TRUE(Travels(inherited));
  EXPECT_EQ((Both().*(*RoundTrip(inherited)))(), 2);
}

TEST(SerializeCodeTest, RefusesToSendVirtualMemberFunctions) {
  EXPECT_THAT(
      Pack(&WithVirtual::Virtual),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("virtual member function cannot travel; pass a "
                         "lambda")));
}

// To call one would jump to wherever the object's table of functions says.
TEST(SerializeCodeTest, RefusesForgedVirtualMemberFunctions) {
  const auto code = reinterpret_cast<uintptr_t>(&Twice) | 1;
  Encoder encoder;
  internal::WriteCode(reinterpret_cast<const void*>(code), encoder);
  encoder.Write(ptrdiff_t{0});
  EXPECT_THAT(Unpack<int (Second::*)() const>(*std::move(encoder).Finish()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("virtual")));
}

TEST(SerializeCodeTest, FunctionObjectsWithoutStateTravel) {
  const auto twice = [](int x) { return 2 * x; };
  EXPECT_EQ((*RoundTrip(twice))(21), 42);
  const auto any = [](auto x) { return x + x; };
  EXPECT_EQ((*RoundTrip(any))(std::string("a")), "aa");
  EXPECT_TRUE((*RoundTrip(std::less<>()))(1, 2));
}

}  // namespace
}  // namespace mp
