// The file that says who owns which names: when it comes and goes, and what
// happens where somebody has damaged it.

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/finalizer.h"
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
using ::mp::internal::RunFinalizers;
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
using ::testing::IsEmpty;

constexpr absl::StatusCode kNotFound = absl::StatusCode::kNotFound;
constexpr absl::Duration kLong = absl::Seconds(60);

std::vector<std::string> FilesInShm() {
  std::vector<std::string> files;
  for (const auto& file : std::filesystem::directory_iterator("/dev/shm")) {
    files.push_back(file.path().filename());
  }
  return files;
}

// Runs `body` where it has a /dev/shm of its own.
void RunInOwnShm(const std::function<void()>& body) {
  Child child = RunInChild([&]() -> absl::Status {
    internal::MountOwnShm();
    body();
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

// Runs `body` in a child that ends by SIGKILL.
void RunAndKill(const std::function<void()>& body) {
  Child child = RunInChild([&]() -> absl::Status {
    body();
    raise(SIGKILL);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
}

// Runs `body` in a child that ends in order.
void RunAndEnd(const std::function<void()>& body) {
  Child child = RunInChild([&]() -> absl::Status {
    body();
    RunFinalizers(std::nullopt);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST(SharedMemoryRegistryTest, GoesWithTheOrderlyEndOfItsLastUser) {
  RunInOwnShm([] {
    RunAndEnd([] { MakeNamed("made"); });
    EXPECT_THAT(FilesInShm(), IsEmpty());
    RunAndEnd([] { EXPECT_THAT(MakeNamed("made").Unlink(), IsOk()); });
    EXPECT_THAT(FilesInShm(), IsEmpty());
    RunAndEnd([] {
      const SharedMemory block = MakeNamed("untracked", /*track=*/false);
      EXPECT_THAT(SharedMemory::Create(1, {.name = "untracked"}),
                  StatusIs(absl::StatusCode::kAlreadyExists));
      EXPECT_THAT(block.Unlink(), IsOk());
    });
    EXPECT_THAT(FilesInShm(), IsEmpty());
    RunAndEnd(
        [] { EXPECT_THAT(SharedMemory::Unlink("none"), StatusIs(kNotFound)); });
    EXPECT_THAT(FilesInShm(), IsEmpty());
    RunAndEnd([] { EXPECT_THAT(MakeNamed("kept").GiveUpOwnership(), IsOk()); });
    EXPECT_THAT(FilesInShm(), ::testing::ElementsAre("kept"));
  });
}

TEST(SharedMemoryRegistryTest, GoesWithTheNextLookAfterAKill) {
  RunInOwnShm([] {
    const std::vector<std::function<void()>> looks = {
        [] { EXPECT_THAT(ListedNames(), IsEmpty()); },
        [] { EXPECT_THAT(SharedMemory::Open("none"), StatusIs(kNotFound)); },
        [] { MakeNamed("other", /*track=*/false); },
    };
    for (const auto& look : looks) {
      RunAndKill([] { MakeNamed("one"); });
      RunAndKill([] { MakeNamed("two"); });
      EXPECT_TRUE(IsThere("two"));
      look();
      unlink("/dev/shm/other");
      EXPECT_THAT(FilesInShm(), IsEmpty());
    }
  });
}

// Here, where nobody else looks between the kill and the call.
TEST(SharedMemoryRegistryTest, OneThatIsNoOwnerGivesNothingUp) {
  RunInOwnShm([] {
    Marker ready = *Marker::Create();
    Child owner = RunInChild([&]() -> absl::Status {
      const SharedMemory block = MakeNamed("block");
      MP_RETURN_IF_ERROR(ready.Signal());
      while (true) pause();
    });
    ASSERT_THAT(ready.Await(kLong), IsOk());
    const auto block = SharedMemory::Open("block");
    ASSERT_THAT(block.status(), IsOk());
    owner.Kill(SIGKILL);
    owner.Wait();
    EXPECT_THAT(block->GiveUpOwnership(), IsOk());
    EXPECT_TRUE(IsThere("block"));
    EXPECT_THAT(SharedMemory::Open("block"), StatusIs(kNotFound));
  });
}

TEST(SharedMemoryRegistryTest, StaysWithALivingOwner) {
  RunInOwnShm([] {
    Marker ready = *Marker::Create();
    Child owner = RunInChild([&]() -> absl::Status {
      // Without a name, too, as the next one would need it again.
      MP_RETURN_IF_ERROR(MakeNamed("gone").Unlink());
      MP_RETURN_IF_ERROR(ready.Signal());
      while (true) pause();
    });
    ASSERT_THAT(ready.Await(kLong), IsOk());
    RunAndEnd([] { MakeNamed("other"); });
    EXPECT_THAT(ListedNames(), IsEmpty());
    EXPECT_TRUE(std::filesystem::exists(RegistryPath()));
    owner.Kill(SIGKILL);
    owner.Wait();
    EXPECT_THAT(ListedNames(), IsEmpty());
    EXPECT_THAT(FilesInShm(), IsEmpty());
  });
}

TEST(SharedMemoryRegistryTest, StaysWhileAnythingIsLocked) {
  RunInOwnShm([] {
    auto one = RegistryFile::Open(RegistryFile::IfNone::kCreate);
    auto two = RegistryFile::Open(RegistryFile::IfNone::kFail);
    ASSERT_THAT(one.status(), IsOk());
    ASSERT_THAT(two.status(), IsOk());
    ASSERT_TRUE(one->TryLockName("name"));
    EXPECT_FALSE(two->RemoveIfUnused());
    one->UnlockName("name");
    {
      const auto description = one->OpenAgain();
      ASSERT_THAT(description.status(), IsOk());
      constexpr size_t kLast = internal::kMaxRegistryPages - 1;
      ASSERT_TRUE(RegistryFile::TryLockBy(*description, kLast));
      EXPECT_FALSE(two->RemoveIfUnused());
    }
    EXPECT_THAT(FilesInShm(), ::testing::SizeIs(1));
    EXPECT_TRUE(two->RemoveIfUnused());
    EXPECT_THAT(FilesInShm(), IsEmpty());
    // Who comes too late has to notice.
    constexpr auto kUnavailable = absl::StatusCode::kUnavailable;
    EXPECT_FALSE(one->TryLockName("name"));
    EXPECT_THAT(one->CountPages(), StatusIs(kUnavailable));
    EXPECT_THAT(one->OpenAgain().status(), StatusIs(kUnavailable));
    // And does not take the next one away.
    MakeNamed("next");
    EXPECT_FALSE(one->RemoveIfUnused());
    EXPECT_TRUE(std::filesystem::exists(RegistryPath()));
  });
}

TEST(SharedMemoryRegistryTest, StoppedRemoverIsAStatus) {
  RunInOwnShm([] {
    MakeNamed("untracked", /*track=*/false);
    ASSERT_THAT(RegistryFile::Open(RegistryFile::IfNone::kCreate).status(),
                IsOk());
    const Fd remover(open(RegistryPath().c_str(), O_RDWR | O_CLOEXEC));
    struct flock all = {};
    all.l_type = F_WRLCK;
    ASSERT_EQ(fcntl(remover.get(), F_OFD_SETLK, &all), 0);
    constexpr auto kUnavailable = absl::StatusCode::kUnavailable;
    EXPECT_THAT(SharedMemory::Create(1, {.name = "block"}),
                StatusIs(kUnavailable));
    EXPECT_THAT(SharedMemory::Unlink("untracked"), StatusIs(kUnavailable));
    EXPECT_THAT(SharedMemory::Open("untracked"), IsOk());
    all.l_type = F_UNLCK;
    ASSERT_EQ(fcntl(remover.get(), F_OFD_SETLK, &all), 0);
    EXPECT_THAT(MakeNamed("block").Unlink(), IsOk());
  });
}

TEST(SharedMemoryRegistryTest, LooksThatMeetLeaveNothing) {
  RunInOwnShm([] {
    for (int i = 0; i < Scaled(20, 2000); ++i) {
      // Two owners of the same, so that one look might think that the other's
      // owner lives.
      RunAndKill([] {
        MakeNamed("both");
        RunAndKill([] {
          EXPECT_THAT(SharedMemory::Open("both", {.track = true}), IsOk());
        });
      });
      std::vector<Child> lookers;
      for (int k = 0; k < 3; ++k) {
        lookers.push_back(RunInChild([]() -> absl::Status {
          EXPECT_THAT(ListedNames(), IsEmpty());
          EXPECT_FALSE(IsThere("both"));
          return absl::OkStatus();
        }));
      }
      for (Child& looker : lookers) EXPECT_THAT(looker.Wait(), ExitedWith(0));
      EXPECT_THAT(FilesInShm(), IsEmpty());
      if (::testing::Test::HasFailure()) break;
    }
  });
}

TEST(SharedMemoryRegistryTest, StoppedLookerDoesNotStopOthers) {
  RunInOwnShm([] {
    const SharedMemory block = MakeNamed("block");
    RunAndKill([] { MakeNamed("dead"); });
    {
      const auto looker = RegistryFile::Open(RegistryFile::IfNone::kFail);
      ASSERT_THAT(looker.status(), IsOk());
      ASSERT_TRUE(looker->TryLockSweep());
      for (int i = 0; i < 3; ++i) MakeNamed("next").Unlink().IgnoreError();
      EXPECT_THAT(ListedNames(),
                  ::testing::UnorderedElementsAre("block", "dead"));
    }
    EXPECT_THAT(ListedNames(), ::testing::ElementsAre("block"));
  });
}

// Has an owner come and go, whom another process finds meanwhile.
void BeFoundAndEnd(const std::string& name) {
  RunAndEnd([&] {
    const SharedMemory block = MakeNamed(name);
    Child other = RunInChild([&]() -> absl::Status {
      EXPECT_THAT(ListedNames(), Contains(name));
      return absl::OkStatus();
    });
    EXPECT_THAT(other.Wait(), ExitedWith(0));
  });
}

TEST(SharedMemoryRegistryTest, ThoseThatComeWhileTheLastOneGoesAreFound) {
  RunInOwnShm([] {
    std::vector<Child> owners;
    for (int i = 0; i < 4; ++i) {
      owners.push_back(RunInChild([i]() -> absl::Status {
        for (int k = 0; k < Scaled(50, 5000); ++k) {
          BeFoundAndEnd(absl::StrCat(i, ".", k));
          if (::testing::Test::HasFailure()) break;
        }
        return absl::OkStatus();
      }));
    }
    for (Child& owner : owners) EXPECT_THAT(owner.Wait(), ExitedWith(0));
    EXPECT_THAT(FilesInShm(), IsEmpty());
  });
}

// Kills children at steps of `region`, where nobody else owns anything.
void KillAtSteps(const StepKiller::Body& setup,
                 const StepKiller::Body& region) {
  if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
  RunInOwnShm([&] {
    // Once, as the first call of a function in a library takes many steps.
    ASSERT_THAT(setup(), IsOk());
    ASSERT_THAT(region(), IsOk());
    RunFinalizers(std::nullopt);
    StepKiller killer(setup, region);
    const auto points = killer.SomePoints(Scaled(20, 100000));
    ASSERT_THAT(points, IsOk());
    for (const int64_t at : *points) {
      SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
      ASSERT_THAT(killer.KillAt(at), IsOk());
      BeFoundAndEnd("next");
      EXPECT_THAT(FilesInShm(), IsEmpty());
      if (::testing::Test::HasFailure()) return;
    }
  });
}

TEST(SharedMemoryRegistryTest, KilledWhileItIsMade) {
  KillAtSteps(
      [] { return absl::OkStatus(); },
      [] {
        return RegistryFile::Open(RegistryFile::IfNone::kCreate).status();
      });
}

TEST(SharedMemoryRegistryTest, KilledWhileItIsRemoved) {
  KillAtSteps([] { return SharedMemory::Create(1, {.name = "a"}).status(); },
              [] {
                RunFinalizers(std::nullopt);
                return absl::OkStatus();
              });
}

// Makes a block in a child of this one that goes on until it is killed.
Child HoldInChild(const std::string& name, Marker& ready, Marker& go_on) {
  return RunInChild([&]() -> absl::Status {
    const SharedMemory first = MakeNamed(name + ".1");
    MP_RETURN_IF_ERROR(ready.Signal());
    MP_RETURN_IF_ERROR(go_on.Await(kLong));
    const SharedMemory second = MakeNamed(name + ".2");
    MP_RETURN_IF_ERROR(ready.Signal());
    while (true) pause();
  });
}

TEST(SharedMemoryRegistryTest, RegistryThatIsRemovedIsMadeAgain) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    Marker ready = *Marker::Create();
    Marker go_on = *Marker::Create();
    Child owner = HoldInChild("b", ready, go_on);
    MP_RETURN_IF_ERROR(ready.Await(kLong));
    EXPECT_EQ(unlink(RegistryPath().c_str()), 0);
    EXPECT_THAT(ListedNames(), IsEmpty());
    MP_RETURN_IF_ERROR(go_on.Signal());
    MP_RETURN_IF_ERROR(ready.Await(kLong));
    EXPECT_THAT(ListedNames(), ::testing::ElementsAre("b.1", "b.2"));
    owner.Kill(SIGKILL);
    owner.Wait();
    EXPECT_THAT(ListedNames(), IsEmpty());
    EXPECT_FALSE(IsThere("b.1"));
    EXPECT_FALSE(IsThere("b.2"));
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

TEST(SharedMemoryRegistryTest, OwnerMovesToAnotherShmAndIsNotForgotten) {
  const std::string name = UniqueName("before");
  Marker ready = *Marker::Create();
  Child child = RunInChild([&]() -> absl::Status {
    const SharedMemory before = MakeNamed(name);
    internal::MountOwnShm();
    const SharedMemory after = MakeNamed(name);
    EXPECT_THAT(ListedNames(), ::testing::ElementsAre(name));
    EXPECT_THAT(before.Unlink(), StatusIs(kNotFound));
    EXPECT_THAT(after.Unlink(), IsOk());
    MP_RETURN_IF_ERROR(ready.Signal());
    while (true) pause();
  });
  if (!ready.Await(kLong).ok()) GTEST_SKIP() << "no mount namespace";
  EXPECT_THAT(ListedNames(), Contains(name));
  child.Kill(SIGKILL);
  child.Wait();
  EXPECT_THAT(ListedNames(), ::testing::Not(Contains(name)));
  EXPECT_FALSE(IsThere(name));
}

// Writes over the beginning of the registry, which need not be there.
void WriteToRegistry(absl::string_view bytes) {
  const Fd fd(open(RegistryPath().c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(pwrite(fd.get(), bytes.data(), bytes.size(), 0), bytes.size());
}

// Writes over the registry, from `offset` on.
void Damage(std::mt19937_64& random, off_t offset) {
  const Fd fd(open(RegistryPath().c_str(), O_RDWR | O_CLOEXEC));
  struct stat info;
  ASSERT_EQ(fstat(fd.get(), &info), 0);
  for (int i = 0; i < 200; ++i) {
    // Small numbers are what leads and inodes are.
    const uint64_t word = random() >> (random() % 64);
    const off_t at = offset + random() % (info.st_size - offset - 8);
    ASSERT_EQ(pwrite(fd.get(), &word, 8, at), 8);
  }
}

TEST(SharedMemoryRegistryTest, DamagedRegistryHarmsNobody) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    const SharedMemory untracked = MakeNamed("untracked", /*track=*/false);
    std::mt19937_64 random(testing::TestSeed());
    for (int i = 0; i < Scaled(100, 5000); ++i) {
      Child owner = RunInChild([]() -> absl::Status {
        for (int k = 0; k < 20; ++k) MakeNamed(absl::StrCat(getpid(), ".", k));
        raise(SIGKILL);
        return absl::OkStatus();
      });
      owner.Wait();
      Damage(random, internal::kLeadsOffset);
      SharedMemory::List().status().IgnoreError();
      EXPECT_THAT(SharedMemory::Open("untracked"), IsOk());
      EXPECT_THAT(MakeNamed("tracked").Unlink(), IsOk());
      if (::testing::Test::HasFailure()) break;
      if (system("cd /dev/shm && find . -name '*.*' -a -not -name '.*' -delete "
                 "&& rm .mp_owners.*") != 0) {
        return absl::InternalError("rm");
      }
    }
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

TEST(SharedMemoryRegistryTest, DamagedHeaderIsMended) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    const SharedMemory before = MakeNamed("before");
    RunAndKill([] { MakeNamed("dead"); });
    const std::string zeros(internal::kLeadsOffset, '\0');
    WriteToRegistry(zeros);
    // By one that has not opened it before.
    RunAndEnd(
        [] { EXPECT_THAT(ListedNames(), ::testing::ElementsAre("before")); });
    EXPECT_FALSE(IsThere("dead"));
    EXPECT_EQ(truncate(RegistryPath().c_str(), 0), 0);
    EXPECT_THAT(MakeNamed("after").Unlink(), IsOk());
    EXPECT_THAT(ListedNames(), ::testing::ElementsAre("before"));
    // Cut short, but for the header.
    EXPECT_EQ(truncate(RegistryPath().c_str(), 4096), 0);
    EXPECT_THAT(MakeNamed("again").Unlink(), IsOk());
    EXPECT_THAT(ListedNames(), ::testing::ElementsAre("before"));
    EXPECT_THAT(before.Unlink(), IsOk());
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

TEST(SharedMemoryRegistryTest, OneOfAnotherVersionIsAStatus) {
  RunInOwnShm([] {
    constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
    internal::RegistryHeader header = internal::kRegistryHeader;
    header.version = 7;
    const std::string bytes(reinterpret_cast<char*>(&header), sizeof(header));
    WriteToRegistry(bytes);
    EXPECT_THAT(SharedMemory::Create(1, {.named = true}),
                StatusIs(kDataLoss, HasSubstr(RegistryPath())));
    EXPECT_THAT(SharedMemory::List(),
                StatusIs(kDataLoss, HasSubstr("version 7 and not 1")));
    EXPECT_THAT(MakeNamed("untracked", /*track=*/false).Unlink(), IsOk());
    // Nor is what has another name, too, whatever it may be.
    WriteToRegistry(std::string(bytes.size(), 'x'));
    EXPECT_EQ(link(RegistryPath().c_str(), "/dev/shm/other"), 0);
    EXPECT_THAT(SharedMemory::List(), StatusIs(kDataLoss, HasSubstr("remove")));
    EXPECT_EQ(unlink("/dev/shm/other"), 0);
    EXPECT_THAT(MakeNamed("block").Unlink(), IsOk());
  });
}

TEST(SharedMemoryRegistryTest, AnothersRegistryIsNotUsed) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    const Fd fd(open(RegistryPath().c_str(), O_CREAT | O_RDWR, 0666));
    if (fchown(fd.get(), 61234, -1) != 0) _exit(internal::kNotHere);
    EXPECT_THAT(SharedMemory::Create(1, {.named = true}),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         HasSubstr("without `track`")));
    EXPECT_THAT(MakeNamed("untracked", /*track=*/false).Unlink(), IsOk());
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "chown");
}

TEST(SharedMemoryRegistryTest, ReadOnlyShmIsRead) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    const SharedMemory block = MakeNamed("block");
    constexpr unsigned kReadOnly = MS_REMOUNT | MS_BIND | MS_RDONLY;
    if (mount("/dev/shm", "/dev/shm", nullptr, MS_BIND, nullptr) != 0 ||
        mount(nullptr, "/dev/shm", nullptr, kReadOnly, nullptr) != 0) {
      _exit(internal::kNotHere);
    }
    for (int i = 0; i < 2; ++i) {
      EXPECT_THAT(SharedMemory::Open("block", {.read_only = true}), IsOk());
      EXPECT_THAT(ListedNames(), ::testing::ElementsAre("block"));
      EXPECT_FALSE(SharedMemory::Create(1, {.named = true}).ok());
      EXPECT_THAT(block.Unlink(), StatusIs(absl::StatusCode::kPermissionDenied,
                                           HasSubstr("Read-only")));
      if (i == 1) break;
      // One that has not opened the registry before.
      Child other = RunInChild([]() -> absl::Status {
        EXPECT_THAT(SharedMemory::Open("block", {.read_only = true}), IsOk());
        EXPECT_THAT(ListedNames(), ::testing::ElementsAre("block"));
        return absl::OkStatus();
      });
      EXPECT_THAT(other.Wait(), ExitedWith(0));
    }
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

}  // namespace
}  // namespace mp
