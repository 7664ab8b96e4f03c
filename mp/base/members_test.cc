#include "mp/base/members.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using testing::Child;
using testing::IsOk;
using testing::Marker;
using testing::RunInChild;
using testing::StatusIs;

// What the processes of a test share.
struct Shared {
  MembersTable table;
  std::atomic<MemberId> member;
};

class MembersTest : public ::testing::Test {
 protected:
  MembersTest() {
    file_ = Fd(memfd_create("members_test", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(file_.get(), sizeof(Shared)), 0);
    shared_ = static_cast<Shared*>(mmap(nullptr, sizeof(Shared),
                                        PROT_READ | PROT_WRITE, MAP_SHARED,
                                        file_.get(), 0));
    EXPECT_NE(shared_, MAP_FAILED);
    members_ = Attach();
  }
  ~MembersTest() override {
    members_.reset();
    munmap(shared_, sizeof(Shared));
  }

  std::unique_ptr<Members> Attach() {
    return Members::Attach(file_.get(), shared_->table).value();
  }

  // Starts a child that becomes a member, and then runs `body`.
  Child StartMember(absl::FunctionRef<void()> body) {
    Child child = RunInChild([&]() -> absl::Status {
      MP_ASSIGN_OR_RETURN(shared_->member, members_->Self());
      MP_RETURN_IF_ERROR(ready_.Signal());
      body();
      return absl::OkStatus();
    });
    EXPECT_THAT(ready_.Await(), IsOk());
    return child;
  }

  static void SleepForEver() {
    while (true) pause();
  }

  // Waits for a child's end without reaping it.
  static void AwaitZombie(const Child& child) {
    siginfo_t info;
    EXPECT_EQ(waitid(P_PID, child.pid(), &info, WEXITED | WNOWAIT), 0);
  }

  Life LifeOfChild() { return members_->LifeOf(shared_->member); }

  testing::LeakCheck leak_check_;
  Fd file_;
  Shared* shared_ = nullptr;
  std::unique_ptr<Members> members_;
  Marker ready_ = *Marker::Create();
};

TEST_F(MembersTest, IsNobodyUntilAsked) {
  EXPECT_EQ(members_->self(), kNobody);
  const absl::StatusOr<MemberId> self = members_->Self();
  ASSERT_THAT(self, IsOk());
  EXPECT_NE(*self, kNobody);
  EXPECT_EQ(*self & ~kMemberIdMask, 0u);
  EXPECT_EQ(members_->self(), *self);
  EXPECT_EQ(members_->LifeOf(*self), Life::kAlive);
  EXPECT_EQ(members_->PidOf(*self), getpid());
  EXPECT_NE(members_->LifeOf(kNobody), Life::kAlive);
}

TEST_F(MembersTest, ThreadsOfAProcessAreOneMember) {
  std::vector<MemberId> ids(16);
  std::vector<std::thread> threads;
  for (MemberId& id : ids) {
    threads.emplace_back([&] { id = members_->Self().value(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const MemberId id : ids) EXPECT_EQ(id, members_->self());
  // The one that became a member may have ended; the process has not.
  EXPECT_EQ(Attach()->LifeOf(members_->self()), Life::kAlive);
}

TEST_F(MembersTest, AChildIsAnotherMember) {
  const MemberId parent = members_->Self().value();
  Child child = RunInChild([&]() -> absl::Status {
    if (members_->self() != kNobody) return absl::InternalError("inherited");
    MP_ASSIGN_OR_RETURN(const MemberId self, members_->Self());
    if (self == parent) return absl::InternalError("the parent's");
    if (members_->LifeOf(parent) != Life::kAlive) {
      return absl::InternalError("the parent looks dead");
    }
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), testing::ExitedWith(0));
}

TEST_F(MembersTest, OneThatIsKilledIsDeadAlreadyAsAZombie) {
  Child child = StartMember(SleepForEver);
  EXPECT_EQ(LifeOfChild(), Life::kAlive);
  EXPECT_EQ(members_->PidOf(shared_->member), child.pid());
  child.Kill(SIGKILL);
  AwaitZombie(child);
  EXPECT_EQ(LifeOfChild(), Life::kDead);
  EXPECT_EQ(members_->PidOf(shared_->member), child.pid());
}

TEST_F(MembersTest, OneThatLeavesHasLeft) {
  Child child = StartMember([&] { members_->Leave(); });
  child.Wait();
  EXPECT_EQ(LifeOfChild(), Life::kLeft);
}

TEST_F(MembersTest, OneThatLeavesLivesUntilItsEnd) {
  Child child = StartMember([&] {
    members_->Leave();
    ready_.Signal().IgnoreError();
    SleepForEver();
  });
  ASSERT_THAT(ready_.Await(), IsOk());
  EXPECT_EQ(LifeOfChild(), Life::kAlive);
}

TEST_F(MembersTest, AStoppedOneLives) {
  Child child = StartMember(SleepForEver);
  child.Kill(SIGSTOP);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, child.pid(), &info, WSTOPPED), 0);
  EXPECT_EQ(LifeOfChild(), Life::kAlive);
}

TEST_F(MembersTest, ItsChildrenDoNotKeepADeadOneAlive) {
  Marker end = *Marker::Create();
  Child child = StartMember([&] {
    if (fork() == 0) {
      ready_.Signal().IgnoreError();
      end.Await().IgnoreError();
      _exit(0);
    }
    SleepForEver();
  });
  ASSERT_THAT(ready_.Await(), IsOk());
  child.Kill(SIGKILL);
  AwaitZombie(child);
  EXPECT_EQ(LifeOfChild(), Life::kDead);
  EXPECT_THAT(end.Signal(), IsOk());
}

TEST_F(MembersTest, AnotherProgramInItsPlaceIsDead) {
  Child child = StartMember([] { execlp("sleep", "sleep", "1000", nullptr); });
  while (LifeOfChild() == Life::kAlive) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(LifeOfChild(), Life::kDead);
  EXPECT_EQ(kill(child.pid(), 0), 0);
}

TEST_F(MembersTest, ClosingAllDescriptorsKillsNobody) {
  Child child = StartMember([&] {
    const Fd keep = ready_.writer().Dup().value();
    for (int fd = 3; fd < 256; ++fd) {
      if (fd != keep.get()) close(fd);
    }
    static_cast<void>(write(keep.get(), "x", 1));
    SleepForEver();
  });
  ASSERT_THAT(ready_.Await(), IsOk());
  EXPECT_EQ(LifeOfChild(), Life::kAlive);
}

TEST_F(MembersTest, WithItsDescriptorClosedItTakesAllForAlive) {
  Child child = StartMember(SleepForEver);
  child.Kill(SIGKILL);
  AwaitZombie(child);
  Fd closed = std::move(file_);
  closed.Close();
  const Fd other(memfd_create("other", MFD_CLOEXEC));  // has its number
  EXPECT_EQ(LifeOfChild(), Life::kAlive);
  EXPECT_THAT(members_->Self(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(MembersTest, APlaceIsUsedAgainUnderAnotherId) {
  std::set<MemberId> ids;
  constexpr int kRounds = 3;
  for (int i = 0; i < kRounds; ++i) {
    std::unique_ptr<Members> member = Attach();
    shared_->table.next = 7;  // the same place each time
    const MemberId id = member->Self().value();
    ids.insert(id);
    member.reset();
    EXPECT_EQ(members_->LifeOf(id), Life::kLeft);
  }
  EXPECT_EQ(ids.size(), kRounds);
  for (const MemberId id : ids) {
    EXPECT_NE(members_->LifeOf(id), Life::kAlive);
  }
}

TEST_F(MembersTest, TheGenerationNeverMakesNobody) {
  constexpr uint32_t kLast = kMemberIdMask >> MembersTable::kIndexBits;
  shared_->table.next = 0;
  shared_->table.entries[0].generation_and_pid = uint64_t{kLast} << 32;
  const MemberId self = members_->Self().value();
  EXPECT_NE(self, kNobody);
  EXPECT_EQ(members_->LifeOf(self), Life::kAlive);
}

TEST_F(MembersTest, SaysThatAllPlacesAreTaken) {
  std::vector<std::unique_ptr<Members>> all;
  for (int i = 0; i < MembersTable::kMaxMembers; ++i) {
    all.push_back(Attach());
    ASSERT_THAT(all.back()->Self(), IsOk());
  }
  EXPECT_THAT(members_->Self(), StatusIs(absl::StatusCode::kResourceExhausted));
  all.pop_back();
  EXPECT_THAT(members_->Self(), IsOk());
}

TEST_F(MembersTest, LivesAcrossPidNamespaces) {
  // The child of a process that has unshared its pid namespace is pid 1 there.
  Child child = RunInChild([&]() -> absl::Status {
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
      return absl::UnavailableError("no pid namespace");
    }
    const pid_t inner = fork();
    if (inner == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      shared_->member = members_->Self().value();
      ready_.Signal().IgnoreError();
      SleepForEver();
    }
    SleepForEver();
    return absl::OkStatus();
  });
  if (!ready_.Await(absl::Seconds(10)).ok()) {
    GTEST_SKIP() << "no pid namespaces here";
  }
  EXPECT_EQ(LifeOfChild(), Life::kAlive);
  EXPECT_EQ(members_->PidOf(shared_->member), 1);
}

}  // namespace
}  // namespace mp
