#include "mp/process/internal/start_floor.h"

#include "gtest/gtest.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;

TEST(StartFloorTest, ForksAndWaits) {
  LeakCheck leaks;
  for (int i = 0; i < 3; ++i) EXPECT_THAT(ForkAndWait(), IsOk());
}

TEST(StartFloorTest, SpawnsAndWaits) {
  LeakCheck leaks;
  for (int i = 0; i < 3; ++i) EXPECT_THAT(SpawnAndWait(), IsOk());
}

class BareForkServerTest
    : public ::testing::TestWithParam<BareForkServer::Parent> {};

TEST_P(BareForkServerTest, StartsAndJoins) {
  LeakCheck leaks;
  auto server = BareForkServer::Start(GetParam());
  ASSERT_THAT(server, IsOk());
  for (int i = 0; i < 3; ++i) EXPECT_THAT(server->StartAndJoin(), IsOk());
}

INSTANTIATE_TEST_SUITE_P(Parents, BareForkServerTest,
                         ::testing::Values(BareForkServer::Parent::kClient,
                                           BareForkServer::Parent::kServer));

}  // namespace
}  // namespace mp::internal

int main(int argc, char** argv) {
  mp::internal::ServeStartFloor(argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
