// Names of blocks, and when they go.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sharedmem/internal/file_id.h"
#include "mp/sharedmem/internal/named_block.h"
#include "mp/sharedmem/internal/test_blocks.h"
#include "mp/sharedmem/internal/unique_name.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/testing/child.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::IsThere;
using ::mp::internal::kLong;
using ::mp::internal::ListedNames;
using ::mp::internal::MakeNamed;
using ::mp::internal::StartMethodTest;
using ::mp::internal::UniqueName;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::Marker;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::mp::testing::WasKilledBy;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr absl::StatusCode kNotFound = absl::StatusCode::kNotFound;

// Has a child make a block and end by SIGKILL.
void MakeInDeadChild(const std::string& name, bool track = true) {
  Child child = RunInChild([&]() -> absl::Status {
    const SharedMemory block = MakeNamed(name, track);
    raise(SIGKILL);
    return absl::OkStatus();
  });
  ASSERT_THAT(child.Wait(), WasKilledBy(SIGKILL));
}

TEST(SharedMemoryNamesTest, BlockIsFoundByItsNameWithItsSize) {
  const std::string name = UniqueName("basics");
  const SharedMemory block = MakeNamed(name);
  EXPECT_EQ(block.name(), name);
  EXPECT_THAT(SharedMemory::Create(5, {.name = name}),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(name)));
  for (const std::string& spelling : {name, "/" + name}) {
    const auto other = SharedMemory::Open(spelling);
    ASSERT_THAT(other, IsOk());
    EXPECT_EQ(other->name(), name);
    EXPECT_EQ(other->size(), 100);
    block.data()[0] = 'x';
    EXPECT_EQ(other->view()[0], 'x');
  }
  EXPECT_THAT(block.Unlink(), IsOk());
  EXPECT_THAT(block.Unlink(), StatusIs(kNotFound));
  EXPECT_THAT(SharedMemory::Unlink(name), StatusIs(kNotFound));
  EXPECT_THAT(SharedMemory::Open(name), StatusIs(kNotFound, HasSubstr(name)));
  block.data()[1] = 'y';  // the memory is still there
}

TEST(SharedMemoryNamesTest, NewNamesAreLikeCPythons) {
  const SharedMemory one = MakeNamed("");
  const SharedMemory two = MakeNamed("");
  EXPECT_THAT(one.name(), MatchesRegex("psm_[0-9a-f]{8}"));
  EXPECT_NE(one.name(), two.name());
  EXPECT_THAT(one.Unlink(), IsOk());
  EXPECT_THAT(two.Unlink(), IsOk());
}

TEST(SharedMemoryNamesTest, NewNameThatIsTakenIsTriedAgain) {
  const SharedMemory taken = MakeNamed(UniqueName("taken"));
  std::vector<std::string> names = {UniqueName("free"), taken.name(),
                                    taken.name()};
  const auto fd = internal::CreateNamelessBlock({.size_bytes = 10});
  ASSERT_THAT(fd, IsOk());
  struct stat info;
  ASSERT_EQ(fstat(fd->get(), &info), 0);
  const auto name = internal::NameBlock(*fd, internal::FileId::Of(info),
                                        /*track=*/true, /*is_one=*/false, [&] {
                                          std::string name = names.back();
                                          names.pop_back();
                                          return name;
                                        });
  EXPECT_THAT(name, IsOkAndHolds(UniqueName("free")));
  EXPECT_THAT(SharedMemory::Unlink(*name), IsOk());
  EXPECT_THAT(taken.Unlink(), IsOk());
}

TEST(SharedMemoryNamesTest, WhatIsNoNameIsRefused) {
  for (const std::string& name :
       {std::string("a\0b", 3), std::string("a/b"), std::string("."),
        std::string("/.."), std::string("/"), std::string(256, 'x')}) {
    constexpr auto kCode = absl::StatusCode::kInvalidArgument;
    EXPECT_THAT(SharedMemory::Create(5, {.name = name}), StatusIs(kCode));
    EXPECT_THAT(SharedMemory::Open(name), StatusIs(kCode));
    EXPECT_THAT(SharedMemory::Unlink(name), StatusIs(kCode));
  }
  EXPECT_THAT(SharedMemory::Open(""),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
  std::string longest = UniqueName("");
  longest.resize(255, 'x');
  const SharedMemory block = MakeNamed(longest);
  EXPECT_THAT(block.Unlink(), IsOk());
}

TEST(SharedMemoryNamesTest, KilledOwnersNameGoesWithTheNextLook) {
  const std::string name = UniqueName("killed");
  for (const int look : {0, 1, 2}) {
    ASSERT_NO_FATAL_FAILURE(MakeInDeadChild(name));
    if (look == 0) SharedMemory::List().status().IgnoreError();
    if (look == 1) SharedMemory::Open("none").status().IgnoreError();
    if (look == 2) MakeNamed(UniqueName("next")).Unlink().IgnoreError();
    EXPECT_FALSE(IsThere(name));
  }
}

TEST(SharedMemoryNamesTest, KilledOwnersNameCanBeTaken) {
  const std::string name = UniqueName("taken over");
  ASSERT_NO_FATAL_FAILURE(MakeInDeadChild(name));
  const SharedMemory block = MakeNamed(name);
  EXPECT_THAT(block.Unlink(), IsOk());
}

TEST(SharedMemoryNamesTest, UntrackedNameStays) {
  const std::string name = UniqueName("untracked");
  ASSERT_NO_FATAL_FAILURE(MakeInDeadChild(name, /*track=*/false));
  EXPECT_THAT(SharedMemory::Open(name), IsOk());
  EXPECT_THAT(SharedMemory::Unlink(name), IsOk());
}

TEST(SharedMemoryNamesTest, BlocksOfOtherProgramsAreLeftAlone) {
  const std::string name = UniqueName("foreign");
  const Fd fd(shm_open(name.c_str(), O_CREAT | O_RDWR, 0600));
  ASSERT_EQ(ftruncate(fd.get(), 10), 0);
  EXPECT_THAT(ListedNames(), ::testing::Not(::testing::Contains(name)));
  EXPECT_THAT(SharedMemory::Open(name), IsOk());
  EXPECT_TRUE(IsThere(name));
  EXPECT_THAT(SharedMemory::Unlink(name), IsOk());
}

TEST(SharedMemoryNamesTest, StoppedOwnerKeepsItsName) {
  const std::string name = UniqueName("stopped");
  Marker ready = *Marker::Create();
  Child child = RunInChild([&]() -> absl::Status {
    const SharedMemory block = MakeNamed(name);
    MP_RETURN_IF_ERROR(ready.Signal());
    while (true) pause();
  });
  ASSERT_THAT(ready.Await(), IsOk());
  child.Kill(SIGSTOP);
  EXPECT_THAT(ListedNames(), ::testing::Contains(name));
  EXPECT_TRUE(IsThere(name));
  child.Kill(SIGKILL);
  child.Wait();
  EXPECT_THAT(ListedNames(), ::testing::Not(::testing::Contains(name)));
}

TEST(SharedMemoryNamesTest, NameStaysThoughTheHandleGoes) {
  const std::string name = UniqueName("closed");
  MakeNamed(name).Close();
  EXPECT_THAT(ListedNames(), ::testing::Contains(name));
  EXPECT_THAT(SharedMemory::Unlink(name), IsOk());
}

TEST(SharedMemoryNamesTest, ForkedChildDoesNotKeepItsParentsName) {
  const std::string name = UniqueName("forked");
  Marker ready = *Marker::Create();
  Marker done = *Marker::Create();
  Child parent = RunInChild([&]() -> absl::Status {
    const SharedMemory block = MakeNamed(name);
    if (fork() == 0) {
      MP_CHECK_OK(ready.Signal());
      MP_CHECK_OK(done.Await(kLong));
      _exit(0);
    }
    while (true) pause();
  });
  ASSERT_THAT(ready.Await(), IsOk());
  EXPECT_THAT(ListedNames(), ::testing::Contains(name));
  parent.Kill(SIGKILL);
  parent.Wait();
  EXPECT_THAT(ListedNames(), ::testing::Not(::testing::Contains(name)));
  EXPECT_THAT(done.Signal(), IsOk());
}

TEST(SharedMemoryNamesTest, OpeningNeverRemoves) {
  const SharedMemory block = MakeNamed(UniqueName("opened"));
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(SharedMemory::Open(block.name()).status());
    raise(SIGKILL);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(SharedMemory::Open(block.name()), IsOk());
  EXPECT_THAT(block.Unlink(), IsOk());
}

TEST(SharedMemoryNamesTest, NameGoesWithTheLastOfItsOwners) {
  const std::string name = UniqueName("owners");
  Marker made = *Marker::Create();
  Child maker = RunInChild([&]() -> absl::Status {
    const SharedMemory block = MakeNamed(name);
    MP_RETURN_IF_ERROR(made.Signal());
    while (true) pause();
  });
  ASSERT_THAT(made.Await(), IsOk());
  Marker opened = *Marker::Create();
  Child second = RunInChild([&]() -> absl::Status {
    const auto block = SharedMemory::Open(name, {.track = true});
    MP_RETURN_IF_ERROR(block.status());
    MP_RETURN_IF_ERROR(opened.Signal());
    while (true) pause();
  });
  ASSERT_THAT(opened.Await(), IsOk());
  maker.Kill(SIGKILL);
  maker.Wait();
  EXPECT_THAT(ListedNames(), ::testing::Contains(name));
  second.Kill(SIGKILL);
  second.Wait();
  EXPECT_THAT(ListedNames(), ::testing::Not(::testing::Contains(name)));
}

TEST(SharedMemoryNamesTest, TrackedOpenAdoptsWhatHadNoOwner) {
  const std::string name = UniqueName("adopted");
  const SharedMemory block = MakeNamed(name, /*track=*/false);
  Child child = RunInChild([&]() -> absl::Status {
    const auto block =
        SharedMemory::Open(name, {.track = true, .read_only = true});
    MP_RETURN_IF_ERROR(block.status());
    raise(SIGKILL);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(SharedMemory::Open(name), StatusIs(kNotFound));
  EXPECT_THAT(block.TakeOwnership(), StatusIs(kNotFound));
}

TEST(SharedMemoryNamesTest, NameThatIsGivenUpStays) {
  const std::string name = UniqueName("given up");
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(MakeNamed(name).GiveUpOwnership());
    raise(SIGKILL);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(ListedNames(), ::testing::Not(::testing::Contains(name)));
  EXPECT_THAT(SharedMemory::Unlink(name), IsOk());
}

TEST(SharedMemoryNamesTest, OldHandleDoesNotTouchANewBlockOfItsName) {
  const std::string name = UniqueName("reused");
  const SharedMemory old = MakeNamed(name);
  ASSERT_THAT(old.Unlink(), IsOk());
  const SharedMemory now = MakeNamed(name);
  EXPECT_THAT(old.Unlink(), StatusIs(kNotFound));
  EXPECT_THAT(old.TakeOwnership(), StatusIs(kNotFound));
  EXPECT_THAT(old.GiveUpOwnership(), StatusIs(kNotFound));
  EXPECT_TRUE(IsThere(name));
  EXPECT_THAT(now.Unlink(), IsOk());
}

TEST(SharedMemoryNamesTest, LookersNeverTakeALivingOwnersName) {
  const std::string name = UniqueName("hammered");
  std::vector<Child> lookers;
  for (int i = 0; i < 3; ++i) {
    lookers.push_back(RunInChild([]() -> absl::Status {
      while (true) MP_RETURN_IF_ERROR(SharedMemory::List().status());
    }));
  }
  for (int i = 0; i < 300; ++i) {
    const SharedMemory block = MakeNamed(name);
    ASSERT_THAT(SharedMemory::Open(name), IsOk()) << i;
    ASSERT_THAT(block.Unlink(), IsOk()) << i;
  }
}

// What all start methods promise.
class SharedMemoryNamesTravelTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(SharedMemoryNamesTravelTest, AllStartMethods);

TEST_P(SharedMemoryNamesTravelTest, AnyNameWorks) {
  for (const std::string what : {"a:b:c", "line\nline", "ünï", "-rf *"}) {
    const SharedMemory block = MakeNamed(UniqueName(what));
    EXPECT_EQ(Run([](SharedMemory block) { return block.Fill('c'); }, block),
              0);
    EXPECT_EQ(block.view(), std::string(100, 'c'));
    EXPECT_THAT(block.Unlink(), IsOk());
  }
}

TEST_P(SharedMemoryNamesTravelTest, UnlinkedBlockIsNotFound) {
  const SharedMemory block = MakeNamed("");
  ASSERT_THAT(block.Unlink(), IsOk());
  Process process(
      options(), [](SharedMemory) {}, block);
  const absl::Status started = process.Start();
  if (!started.ok()) {  // a thread sees it at once
    EXPECT_THAT(started, StatusIs(kNotFound));
    return;
  }
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_NE(process.exitcode(), 0);
}

TEST_P(SharedMemoryNamesTravelTest, NameGoesWithAnOrderlyExitAndNoLook) {
  if (is_thread()) GTEST_SKIP() << "a thread's names are its process's";
  const std::string name = UniqueName("orderly");
  EXPECT_EQ(Run([](std::string name) { MakeNamed(name); }, name), 0);
  EXPECT_FALSE(IsThere(name));
}

}  // namespace
}  // namespace mp
