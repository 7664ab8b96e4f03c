#include "mp/process/internal/oom.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/process_report.h"

namespace mp::internal {
namespace {

using ::testing::Optional;

// A folder with the files that the kernel would have.
class OomTest : public ::testing::Test {
 protected:
  OomTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/oom.XXXXXX");
    root_ = mkdtemp(name.data());
    Write("/proc/self/cgroup", "12:memory:/old\n0::/a/b\n");
    SetCgroup(0);
    SetMachine(0);
  }
  ~OomTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void Remove(const std::string& path) {
    std::filesystem::remove(root_ + path);
  }

  void SetCgroup(int kills) {
    Write(
        "/sys/fs/cgroup/a/b/memory.events",
        absl::StrCat("low 0\noom 9\noom_kill ", kills, "\noom_group_kill 7\n"));
  }
  void SetMachine(int kills) {
    Write("/proc/vmstat", absl::StrCat("nr_free_pages 4\noom_kill ", kills,
                                       "\ndrop_pagecache 0\n"));
  }

  std::string root_;
};

TEST_F(OomTest, ReadsBothCounts) {
  SetCgroup(3);
  SetMachine(5);
  const OomKills kills = ReadOomKills(root_);
  EXPECT_THAT(kills.cgroup, Optional(3u));
  EXPECT_THAT(kills.machine, Optional(5u));
}

// Where both versions are mounted, one of them has the memory.
TEST_F(OomTest, ReadsTheCountOfVersionOne) {
  Remove("/sys/fs/cgroup/a/b/memory.events");
  Write("/proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/c\n0::/a/b\n");
  Write("/sys/fs/cgroup/memory/c/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
  EXPECT_THAT(ReadOomKills(root_).cgroup, Optional(7u));
}

TEST_F(OomTest, RootCgroupAndOldKernelsSayNothing) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/proc/vmstat", "nr_free_pages 4\n");
  const OomKills kills = ReadOomKills(root_);
  EXPECT_EQ(kills.cgroup, std::nullopt);
  EXPECT_EQ(kills.machine, std::nullopt);
}

TEST_F(OomTest, RubbishSaysNothing) {
  Write("/proc/self/cgroup", "\n:::\n0:");
  Write("/proc/vmstat", "oom_kill\noom_kill x\noom_killer 3\noom_kill -1");
  const OomKills kills = ReadOomKills(root_);
  EXPECT_EQ(kills.cgroup, std::nullopt);
  EXPECT_EQ(kills.machine, std::nullopt);
}

TEST_F(OomTest, YesIfTheCgroupsCountRose) {
  OomWatch watch(root_);
  watch.BeforeStart();
  SetCgroup(1);
  SetMachine(1);
  EXPECT_EQ(watch.Explain(), OomKilled::kYes);
}

TEST_F(OomTest, EachYesNeedsAKillOfItsOwn) {
  OomWatch watch(root_);
  watch.BeforeStart();
  SetCgroup(2);
  SetMachine(2);
  EXPECT_EQ(watch.Explain(), OomKilled::kYes);
  EXPECT_EQ(watch.Explain(), OomKilled::kYes);
  EXPECT_EQ(watch.Explain(), OomKilled::kNo);
}

TEST_F(OomTest, NoIfNothingRose) {
  SetCgroup(4);
  SetMachine(6);
  OomWatch watch(root_);
  watch.BeforeStart();
  EXPECT_EQ(watch.Explain(), OomKilled::kNo);
}

TEST_F(OomTest, UnknownIfOnlyTheMachinesCountRose) {
  OomWatch watch(root_);
  watch.BeforeStart();
  SetMachine(1);
  EXPECT_EQ(watch.Explain(), OomKilled::kUnknown);
}

TEST_F(OomTest, OneReadableCountThatStayedIsEnoughForNo) {
  Remove("/proc/vmstat");
  OomWatch cgroup_only(root_);
  cgroup_only.BeforeStart();
  EXPECT_EQ(cgroup_only.Explain(), OomKilled::kNo);
  SetMachine(0);
  Remove("/sys/fs/cgroup/a/b/memory.events");
  OomWatch machine_only(root_);
  machine_only.BeforeStart();
  EXPECT_EQ(machine_only.Explain(), OomKilled::kNo);
}

TEST_F(OomTest, UnknownIfNothingCanBeRead) {
  OomWatch watch(root_ + "/nowhere");
  watch.BeforeStart();
  EXPECT_EQ(watch.Explain(), OomKilled::kUnknown);
}

TEST_F(OomTest, UnknownIfNobodyLookedBefore) {
  OomWatch watch(root_);
  EXPECT_EQ(watch.Explain(), OomKilled::kUnknown);
}

TEST_F(OomTest, ThisMachineCanBeRead) {
  const OomKills kills = ReadOomKills("");
  if (!kills.machine.has_value()) GTEST_SKIP() << "no oom_kill in /proc/vmstat";
  SUCCEED();
}

}  // namespace
}  // namespace mp::internal
