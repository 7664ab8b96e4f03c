#include "mp/ipc/address.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Family = Address::Family;

constexpr absl::StatusCode kInvalidArgument =
    absl::StatusCode::kInvalidArgument;

struct Text {
  std::string text;
  Family family;
  std::string name;
  uint16_t port = 0;
  std::string printed = text;
};

class AddressTextTest : public ::testing::TestWithParam<Text> {};

INSTANTIATE_TEST_SUITE_P(
    Forms, AddressTextTest,
    ::testing::Values(Text{"/run/app.sock", Family::kUnix, "/run/app.sock"},
                      Text{"./app.sock", Family::kUnix, "./app.sock"},
                      Text{"../app.sock", Family::kUnix, "../app.sock"},
                      Text{"unix:app.sock", Family::kUnix, "app.sock"},
                      Text{"unix:/x:1", Family::kUnix, "/x:1", 0, "/x:1"},
                      Text{"/with: colon", Family::kUnix, "/with: colon"},
                      Text{"@name", Family::kAbstract, "name"},
                      Text{std::string("\0name", 5), Family::kAbstract, "name",
                           0, "@name"},
                      Text{R"(@a\x00\\b)", Family::kAbstract,
                           std::string("a\0\\b", 4), 0, R"(@a\x00\\b)"},
                      Text{"localhost:6000", Family::kTcp, "localhost", 6000},
                      Text{"127.0.0.1:0", Family::kTcp, "127.0.0.1", 0},
                      Text{"10.0.0.7:65535", Family::kTcp, "10.0.0.7", 65535},
                      Text{"[::1]:6000", Family::kTcp, "::1", 6000},
                      Text{"[fe80::1%eth0]:1", Family::kTcp, "fe80::1%eth0", 1},
                      Text{"[host]:1", Family::kTcp, "host", 1, "host:1"}));

TEST_P(AddressTextTest, IsParsedAndPrinted) {
  const auto address = Address::Parse(GetParam().text);
  ASSERT_THAT(address, IsOk());
  EXPECT_EQ(address->family(), GetParam().family);
  EXPECT_EQ(address->name(), GetParam().name);
  EXPECT_EQ(address->port(), GetParam().port);
  EXPECT_EQ(address->ToString(), GetParam().printed);
  EXPECT_THAT(Address::Parse(address->ToString()), IsOkAndHolds(*address));
}

TEST_P(AddressTextTest, Travels) {
  const auto address = Address::Parse(GetParam().text);
  ASSERT_THAT(address, IsOk());
  Encoder encoder;
  encoder.Write(*address);
  auto parcel = std::move(encoder).Finish();
  ASSERT_THAT(parcel, IsOk());
  EXPECT_THAT(Decoder(*std::move(parcel)).Read<Address>(),
              IsOkAndHolds(*address));
}

TEST(AddressTest, WhatIsNoneIsRefusedWithAReason) {
  const std::pair<absl::string_view, absl::string_view> kBad[] = {
      {"", "host:port"},
      {"name", "./path"},
      {"@", "the name is empty"},
      {"unix:", "the path is empty"},
      {R"(\\.\pipe\x)", "Windows"},
      {"::1:6000", "[::1]:6000"},
      {":6000", "the host is empty"},
      {"host:", "no number from 0 to 65535"},
      {"host:65536", "no number from 0 to 65535"},
      {"host:-1", "no number from 0 to 65535"},
      {"host: 1", "no number from 0 to 65535"},
      {"host:1x", "no number from 0 to 65535"},
      {"[::1:6000", "without its ']'"},
      {"a b:1", "no host has"},
      {R"(@\x)", "\\x"},
  };
  for (const auto& [text, reason] : kBad) {
    EXPECT_THAT(Address::Parse(text),
                StatusIs(kInvalidArgument, HasSubstr(std::string(reason))))
        << text;
  }
}

TEST(AddressTest, NamesHaveALimit) {
  const std::string longest(Address::kMaxPathBytes, 'x');
  EXPECT_THAT(Address::Unix(longest), IsOk());
  EXPECT_THAT(Address::Abstract(longest), IsOk());
  for (const auto& address :
       {Address::Unix(longest + "x"), Address::Abstract(longest + "x")}) {
    EXPECT_THAT(address,
                StatusIs(kInvalidArgument,
                         AllOf(HasSubstr("108 bytes"), HasSubstr("107"))));
  }
  EXPECT_THAT(Address::Tcp(std::string(256, 'x'), 1),
              StatusIs(kInvalidArgument, HasSubstr("255")));
}

TEST(AddressTest, PathHasNoNul) {
  EXPECT_THAT(Address::Unix(absl::string_view("a\0b", 3)),
              StatusIs(kInvalidArgument, HasSubstr("NUL")));
}

TEST(AddressTest, ForgedBytesAreNoAddress) {
  const auto read = [](Family family, const std::string& name) {
    Encoder encoder;
    encoder.Write(family);
    encoder.Write(name);
    encoder.Write(uint16_t{0});
    return Decoder(*std::move(encoder).Finish()).Read<Address>();
  };
  for (const auto& address :
       {read(Family{7}, "x"), read(Family::kUnix, std::string(200, 'x')),
        read(Family::kUnix, std::string("a\0b", 3)),
        read(Family::kAbstract, std::string(200, 'x')),
        read(Family::kTcp, "")}) {
    EXPECT_THAT(address, StatusIs(absl::StatusCode::kDataLoss));
  }
}

TEST(AddressTest, DefaultHasNoName) {
  EXPECT_EQ(Address().ToString(), "(no name)");
  EXPECT_EQ(Address().family(), Family::kAbstract);
  Encoder encoder;
  encoder.Write(Address());
  EXPECT_THAT(Decoder(*std::move(encoder).Finish()).Read<Address>(),
              IsOkAndHolds(Address()));
}

}  // namespace
}  // namespace mp
