// What is left of a process that is killed, at whatever step.

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/internal/own_shm.h"
#include "mp/sharedmem/internal/registry_file.h"
#include "mp/sharedmem/internal/registry_layout.h"
#include "mp/sharedmem/internal/test_blocks.h"
#include "mp/sharedmem/internal/unique_name.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/testing/child.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using ::mp::internal::IsThere;
using ::mp::internal::ListedNames;
using ::mp::internal::MakeNamed;
using ::mp::internal::RegistryFile;
using ::mp::internal::RegistryPath;
using ::mp::internal::UniqueName;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::Marker;
using ::mp::testing::PtraceAllowed;
using ::mp::testing::RunInChild;
using ::mp::testing::Scaled;
using ::mp::testing::StatusIs;
using ::mp::testing::StepKiller;
using ::mp::testing::WasKilledBy;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

// These tests stop processes that hold locks of the registry, which those of
// other tests would wait for.
class OwnShm : public ::testing::Environment {
 public:
  void SetUp() override {
    if (!internal::TryToMountOwnShm()) {
      std::cerr << "no /dev/shm of their own: these tests share it\n";
    }
  }
};
const ::testing::Environment* const kOwnShm =
    ::testing::AddGlobalTestEnvironment(new OwnShm);

// Kills children at each step of something, and looks after each.
class SharedMemoryStepTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    bystander_ = MakeNamed(bystanders_name_);
    // Once, as the first call of a function in a library takes many steps.
    MakeNamed(name_).Unlink().IgnoreError();
    MakeNamed(name_).Close();
    SharedMemory::Open(name_, {.track = true}).status().IgnoreError();
    SharedMemory::Unlink(name_).IgnoreError();
    SharedMemory::Open("none").status().IgnoreError();
    ListedNames();
  }
  void TearDown() override { bystander_.Unlink().IgnoreError(); }

  // Runs `region` in children that are killed at ever another step of it, and
  // `check` after each.
  void KillAtSteps(const StepKiller::Body& setup,
                   const StepKiller::Body& region,
                   const std::function<void()>& check, int kills = 30) {
    StepKiller killer(setup, region);
    const auto points = killer.SomePoints(Scaled(kills, 100000));
    ASSERT_THAT(points, IsOk());
    for (const int64_t at : *points) {
      SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
      ASSERT_THAT(killer.KillAt(at), IsOk());
      check();
      EXPECT_THAT(ListedNames(), Contains(bystanders_name_));
      EXPECT_THAT(SharedMemory::Open(bystanders_name_), IsOk());
      if (HasFailure()) return;
    }
  }

  static absl::Status Nothing() { return absl::OkStatus(); }

  // That a look leaves nothing of the name, which can be used again.
  void ExpectFree(const std::string& name) {
    SharedMemory::List().status().IgnoreError();
    EXPECT_FALSE(IsThere(name));
    EXPECT_THAT(MakeNamed(name).Unlink(), IsOk());
  }

  const std::string name_ = UniqueName("stepped");
  const std::string bystanders_name_ = UniqueName("bystander");
  SharedMemory bystander_;
};

TEST_F(SharedMemoryStepTest, FirstCreate) {
  KillAtSteps(
      Nothing,
      [&] { return SharedMemory::Create(100, {.name = name_}).status(); },
      [&] { ExpectFree(name_); });
}

TEST_F(SharedMemoryStepTest, NextCreate) {
  KillAtSteps(
      [&] { return MakeNamed(name_ + ".first").Unlink(); },
      [&] { return SharedMemory::Create(100, {.name = name_}).status(); },
      [&] { ExpectFree(name_); });
}

TEST_F(SharedMemoryStepTest, Unlink) {
  SharedMemory block;
  KillAtSteps(
      [&] {
        block = MakeNamed(name_);
        return absl::OkStatus();
      },
      [&] { return block.Unlink(); }, [&] { ExpectFree(name_); });
}

TEST_F(SharedMemoryStepTest, UnlinkOfAnothersName) {
  SharedMemory block = MakeNamed(name_);
  KillAtSteps(
      Nothing, [&] { return SharedMemory::Unlink(name_); },
      [&] {
        if (!IsThere(name_)) block = MakeNamed(name_);
        EXPECT_THAT(ListedNames(), Contains(name_));
      });
  EXPECT_THAT(block.Unlink(), IsOk());
}

TEST_F(SharedMemoryStepTest, Close) {
  SharedMemory block;
  KillAtSteps(
      [&] {
        block = MakeNamed(name_);
        return absl::OkStatus();
      },
      [&] {
        block.Close();
        return absl::OkStatus();
      },
      [&] { ExpectFree(name_); });
}

TEST_F(SharedMemoryStepTest, OpenThatOwns) {
  KillAtSteps(
      Nothing,
      [&] {
        return SharedMemory::Open(bystanders_name_, {.track = true}).status();
      },
      [&] { EXPECT_TRUE(IsThere(bystanders_name_)); });
}

TEST_F(SharedMemoryStepTest, Look) {
  KillAtSteps(
      [&] {
        // Dies with its name before this child does, and is looked for by it.
        Child owner = RunInChild([&]() -> absl::Status {
          MakeNamed(name_);
          raise(SIGKILL);
          return absl::OkStatus();
        });
        owner.Wait();
        return absl::OkStatus();
      },
      [] {
        SharedMemory::Open("none").status().IgnoreError();
        return absl::OkStatus();
      },
      [&] { ExpectFree(name_); },
      /*kills=*/20);
}

TEST_F(SharedMemoryStepTest, ForkedChildKeepsNoNameLocked) {
  SharedMemory block = MakeNamed(name_);
  Marker done = *Marker::Create();
  KillAtSteps(
      [&] {
        SharedMemory::List().status().IgnoreError();
        if (fork() != 0) return absl::OkStatus();
        done.Await(kLong).IgnoreError();
        _exit(0);
      },
      [&] { return SharedMemory::Unlink(name_); },
      [&] {
        if (!IsThere(name_)) block = MakeNamed(name_);
        ASSERT_THAT(block.Unlink(), IsOk());
        block = MakeNamed(name_);
        EXPECT_THAT(done.Signal(), IsOk());
      });
  EXPECT_THAT(block.Unlink(), IsOk());
}

TEST(SharedMemoryDeathTest, StoppedLookerHasItsNameToItself) {
  const std::string name = UniqueName("locked");
  const SharedMemory block = MakeNamed(name);
  Marker ready = *Marker::Create();
  Child looker = RunInChild([&]() -> absl::Status {
    const auto file = RegistryFile::Open(RegistryFile::IfNone::kFail);
    MP_RETURN_IF_ERROR(file.status());
    if (!file->TryLockName(name)) return absl::InternalError("locked");
    MP_RETURN_IF_ERROR(ready.Signal());
    while (true) pause();
  });
  ASSERT_THAT(ready.Await(kLong), IsOk());
  EXPECT_THAT(block.Unlink(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(name)));
  EXPECT_THAT(MakeNamed(UniqueName("other")).Unlink(), IsOk());
  looker.Kill(SIGKILL);
  looker.Wait();
  EXPECT_THAT(block.Unlink(), IsOk());
}

TEST(SharedMemoryDeathTest, ManyBlocksGoAtOnceAndTheirPlacesAreUsedAgain) {
  Child all = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    const SharedMemory bystander = MakeNamed("bystander");
    off_t size = 0;
    for (int i = 0; i < 3; ++i) {
      Child child = RunInChild([]() -> absl::Status {
        for (int k = 0; k < 200; ++k) MakeNamed(absl::StrCat(k));
        raise(SIGKILL);
        return absl::OkStatus();
      });
      EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
      EXPECT_THAT(ListedNames(), ::testing::ElementsAre("bystander"));
      struct stat info;
      EXPECT_EQ(stat(RegistryPath().c_str(), &info), 0);
      if (i == 0) size = info.st_size;
      EXPECT_EQ(info.st_size, size);
    }
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(all, "a mount namespace");
}

TEST(SharedMemoryDeathTest, BlocksThatOthersUnlinkedNeedNoPlace) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    for (int i = 0; i < 300; ++i) {
      MakeNamed("same");
      if (unlink("/dev/shm/same") != 0) return absl::InternalError("unlink");
    }
    struct stat info;
    EXPECT_EQ(stat(RegistryPath().c_str(), &info), 0);
    EXPECT_LE(info.st_size, internal::kPagesOffset + 2 * 4096);
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

// Threads that are anywhere in these calls when another one forks.
TEST(SharedMemoryDeathTest, ForkedChildOfAParentWithThreadsCanDoAll) {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&done, i] {
      while (!done) {
        const SharedMemory block = MakeNamed(UniqueName(absl::StrCat("t", i)));
        SharedMemory().name();
        MP_CHECK_OK(block.Unlink());
      }
    });
  }
  for (int i = 0; i < Scaled(50, 2000); ++i) {
    Child child = RunInChild([]() -> absl::Status {
      alarm(60);  // instead of for ever
      if (!SharedMemory().name().empty()) return absl::InternalError("name");
      MP_RETURN_IF_ERROR(MakeNamed(UniqueName("c")).Unlink());
      return SharedMemory::List().status();
    });
    ASSERT_THAT(child.Wait(), ExitedWith(0));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace mp
