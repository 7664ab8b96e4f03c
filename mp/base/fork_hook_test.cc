#include "mp/base/fork_hook.h"

#include <optional>
#include <string>

#include "gtest/gtest.h"

namespace mp {
namespace {

TEST(ForkHookTest, RunsThoseThatLiveInTheOrderOfTheirMaking) {
  std::string ran;
  std::optional<ForkHook> first([&] { ran += "1"; });
  std::optional<ForkHook> second([&] { ran += "2"; });
  std::optional<ForkHook> third([&] { ran += "3"; });
  ForkHook::RunAll();
  EXPECT_EQ(ran, "123");
  second.reset();
  ForkHook::RunAll();
  EXPECT_EQ(ran, "12313");
  third.reset();
  second.emplace([&] { ran += "4"; });
  first.reset();
  ForkHook::RunAll();
  EXPECT_EQ(ran, "123134");
  second.reset();
  ForkHook::RunAll();
  EXPECT_EQ(ran, "123134");
}

}  // namespace
}  // namespace mp
