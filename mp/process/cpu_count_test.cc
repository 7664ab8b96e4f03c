#include "mp/process/cpu_count.h"

#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mp {
namespace {

using ::mp::internal::CgroupCpuLimit;
using ::mp::internal::CgroupPaths;
using ::testing::Optional;

TEST(CpuCountTest, IsAtLeastOne) {
  EXPECT_GE(CpuCount(), 1);
  EXPECT_GE(UsableCpuCount(), 1);
  EXPECT_LE(UsableCpuCount(), CpuCount());
}

TEST(CpuCountTest, AffinityLimitsWhatIsUsable) {
  const int all = CpuCount();
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_EQ(UsableCpuCount(), 1);
    EXPECT_EQ(CpuCount(), all);
  }).join();
}

// A copy of what the kernel shows of control groups.
class CgroupTest : public ::testing::Test {
 protected:
  CgroupTest() {
    std::string folder = ::testing::TempDir() + "/cgroup_XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) std::abort();
    paths_ = {folder + "/membership", folder + "/root"};
  }
  ~CgroupTest() override {
    std::filesystem::remove_all(
        std::filesystem::path(paths_.root).parent_path());
  }

  void SetMembership(const std::string& text) {
    std::ofstream(paths_.membership) << text;
  }
  void SetCpuMax(const std::string& group, const std::string& text) {
    std::filesystem::create_directories(paths_.root + group);
    std::ofstream(paths_.root + group + "/cpu.max") << text;
  }
  std::optional<int> Limit() const { return CgroupCpuLimit(paths_); }

 private:
  CgroupPaths paths_;
};

TEST_F(CgroupTest, NoFilesNoLimit) { EXPECT_EQ(Limit(), std::nullopt); }

TEST_F(CgroupTest, MaxIsNoLimit) {
  SetMembership("0::/work\n");
  SetCpuMax("/work", "max 100000\n");
  EXPECT_EQ(Limit(), std::nullopt);
}

TEST_F(CgroupTest, QuotaCountsInWholeCpusRoundedUp) {
  SetMembership("0::/work\n");
  for (const auto& [text, cpus] :
       {std::pair("50000 100000\n", 1), std::pair("100000 100000\n", 1),
        std::pair("100001 100000\n", 2), std::pair("250000 100000\n", 3),
        std::pair("9000000000000000000 1000\n", 2147483647)}) {
    SetCpuMax("/work", text);
    EXPECT_THAT(Limit(), Optional(cpus)) << text;
  }
}

TEST_F(CgroupTest, SmallestQuotaOnTheWayUpCounts) {
  SetMembership("12:cpu:/elsewhere\n0::/slice/work\n");
  SetCpuMax("/slice/work", "400000 100000\n");
  EXPECT_THAT(Limit(), Optional(4));
  SetCpuMax("/slice", "200000 100000\n");
  EXPECT_THAT(Limit(), Optional(2));
  SetCpuMax("", "100000 100000\n");
  EXPECT_THAT(Limit(), Optional(1));
  SetCpuMax("/elsewhere", "1 100000\n");
  SetCpuMax("", "max 100000\n");
  EXPECT_THAT(Limit(), Optional(2));
}

// As in a container, which sees its own group as the root.
TEST_F(CgroupTest, RootMayHaveAQuota) {
  SetCpuMax("", "150000 100000\n");
  for (const char* membership : {"0::/\n", "", "0::/../other\n", "0::/..\n"}) {
    SetMembership(membership);
    EXPECT_THAT(Limit(), Optional(2)) << membership;
  }
}

TEST_F(CgroupTest, NonsenseIsNoLimit) {
  SetMembership("0::/work\n");
  for (const char* text : {"", "\n", "100000", "0 100000", "-1 100000", "1 0",
                           "a b", "1 2 3", "99999999999999999999 1"}) {
    SetCpuMax("/work", text);
    EXPECT_EQ(Limit(), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace mp
