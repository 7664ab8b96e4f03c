#include "mp/process/proto_serializer.h"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/internal/round_trip.h"
#include "mp/process/proto_serializer_test.pb.h"
#include "mp/process/serializer.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::Node;
using ::mp::testing::Pack;
using ::mp::testing::RoundTrip;
using ::mp::testing::StatusIs;
using ::mp::testing::Unpack;
using ::testing::AllOf;
using ::testing::HasSubstr;

Node TwoNodes() {
  Node node;
  node.set_name("parent");
  node.set_number(-1);
  node.add_children()->set_name("child");
  return node;
}

// The bytes of a message in a parcel.
std::string Bytes(const std::string& message) {
  return static_cast<char>(message.size()) + message;
}

TEST(ProtoSerializerTest, MessagesTravel) {
  const absl::StatusOr<Node> copy = RoundTrip(TwoNodes());
  ASSERT_THAT(copy, IsOk());
  EXPECT_EQ(copy->SerializeAsString(), TwoNodes().SerializeAsString());
}

TEST(ProtoSerializerTest, MessagesTravelInOtherValues) {
  const auto copy =
      RoundTrip(std::map<int, std::vector<Node>>{{1, {TwoNodes()}}});
  ASSERT_THAT(copy, IsOk());
  EXPECT_EQ(copy->at(1).at(0).children(0).name(), "child");
}

TEST(ProtoSerializerTest, RefusesToSendWithoutRequiredFields) {
  Node node = TwoNodes();
  node.add_children();
  EXPECT_THAT(Pack(node), StatusIs(absl::StatusCode::kInvalidArgument,
                                   AllOf(HasSubstr("the mp.testing.Node lacks"),
                                         HasSubstr("children[1].name"))));
}

TEST(ProtoSerializerTest, RefusesToSendMoreThanProtobufCanRead) {
  Node child;
  child.set_name(std::string(64 << 20, 'x'));
  Node node;
  node.set_name("one child 32 times, which saves memory");
  for (int i = 0; i < 32; ++i) {
    node.mutable_children()->UnsafeArenaAddAllocated(&child);
  }
  EXPECT_THAT(Pack(node), StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("at most 2147483647")));
  while (node.children_size() > 0) {
    node.mutable_children()->UnsafeArenaReleaseLast();
  }
}

TEST(ProtoSerializerTest, RefusesBytesThatAreNoMessage) {
  EXPECT_THAT(Unpack<Node>(Bytes("\xff\xff")),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("the bytes are no mp.testing.Node")));
}

TEST(ProtoSerializerTest, RefusesMessagesWithoutRequiredFields) {
  EXPECT_THAT(Unpack<Node>(Bytes("")),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("lacks required fields: name")));
}

TEST(ProtoSerializerTest, CutShortIsDataLoss) {
  const std::string bytes = Pack(TwoNodes())->bytes;
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(Unpack<Node>(bytes.substr(0, size)),
                StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
}

}  // namespace
}  // namespace mp
