#include "mp/sync/internal/rw_lock_core.h"

#include <signal.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::RunInChild;
using testing::Scaled;
using testing::StatusIs;

constexpr int kCells = 5;

struct State {
  RwLockCoreState core;
  ReaderCell cells[kCells];
};

class RwLockCoreTest : public SharedStateTest<State> {
 protected:
  absl::Status Read() { return lock_.AcquireRead(kLongWait); }
  absl::Status TryToRead() { return lock_.AcquireRead(absl::ZeroDuration()); }
  absl::Status Write() { return lock_.AcquireWrite(kLongWait); }
  absl::Status TryToWrite() { return lock_.AcquireWrite(absl::ZeroDuration()); }

  // What a call answers in another process.
  static absl::Status InAnother(absl::FunctionRef<absl::Status()> call) {
    Child child = RunInChild(
        [&]() -> absl::Status { _exit(static_cast<int>(call().code())); });
    return absl::Status(static_cast<absl::StatusCode>(child.Wait().code), "");
  }

  // Starts a child that begins to write, and waits for readers to leave.
  Child StartWriterThatWaits() {
    Child child = RunInChild([&, this]() -> absl::Status {
      MP_RETURN_IF_ERROR(Write());
      plain_count() += 1;
      return lock_.ReleaseWrite();
    });
    AwaitCondition([&] { return lock_.IsTakenByWriter(); });
    return child;
  }

  RwLockCore lock_{state().core, absl::MakeSpan(state().cells), members()};
};

TEST_F(RwLockCoreTest, ManyReadAtATime) {
  ASSERT_THAT(Read(), IsOk());
  Child child = StartAndStay([&] { return Read(); });
  EXPECT_EQ(lock_.Readers(), 2u);
  EXPECT_EQ(lock_.ToString(), "RwLock(2 readers)");
  EXPECT_THAT(TryToWrite(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                     HasSubstr("AcquireWrite")));
  ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  EXPECT_THAT(lock_.ReleaseRead(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("does not read")));
}

TEST_F(RwLockCoreTest, OneWritesAndNobodyReads) {
  ASSERT_THAT(Write(), IsOk());
  EXPECT_THAT(InAnother([&] { return TryToRead(); }),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(InAnother([&] { return TryToWrite(); }),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(lock_.Readers(), 0u);
  ASSERT_THAT(lock_.ReleaseWrite(), IsOk());
  EXPECT_THAT(lock_.ReleaseWrite(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(InAnother([&] { return TryToRead(); }), IsOk());
  EXPECT_EQ(lock_.ToString(), "RwLock(1 reader)");  // which has ended
  EXPECT_THAT(TryToWrite(), IsOk());
}

TEST_F(RwLockCoreTest, AWriterThatWaitsKeepsReadersOut) {
  ASSERT_THAT(Read(), IsOk());
  Child writer = StartWriterThatWaits();
  EXPECT_THAT(InAnother([&] { return TryToRead(); }),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(plain_count(), 0);
  ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  EXPECT_THAT(writer.Wait(), ExitedWith(0));
  EXPECT_EQ(plain_count(), 1);
}

TEST_F(RwLockCoreTest, AWriterThatGivesUpLetsReadersIn) {
  ASSERT_THAT(Read(), IsOk());
  EXPECT_THAT(lock_.AcquireWrite(absl::Milliseconds(60)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("not left before the deadline")));
  EXPECT_THAT(InAnother([&] { return TryToRead(); }), IsOk());
}

TEST_F(RwLockCoreTest, ReadersBeyondItsCellsWait) {
  for (int i = 0; i < kCells; ++i) ASSERT_THAT(Read(), IsOk());
  for (const int ms : {0, 60}) {
    EXPECT_THAT(lock_.AcquireRead(absl::Milliseconds(ms)),
                StatusIs(absl::StatusCode::kDeadlineExceeded,
                         HasSubstr("max_readers is 5")));
  }
  Child reader = RunInChild([&] { return Read(); });
  AwaitCondition([&] { return state().core.drain != 0; });
  ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  EXPECT_THAT(reader.Wait(), ExitedWith(0));
}

TEST_F(RwLockCoreTest, AWriterComesAfterAReaderThatWaitsForACell) {
  for (int i = 0; i < kCells; ++i) ASSERT_THAT(Read(), IsOk());
  Child reader = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(Read());
    const bool is_before = plain_count() == 0;
    MP_RETURN_IF_ERROR(lock_.ReleaseRead());
    return is_before ? absl::OkStatus() : absl::InternalError("a writer was");
  });
  AwaitCondition([&] { return state().core.drain != 0; });
  Child writer = StartWriterThatWaits();
  for (int i = 0; i < kCells; ++i) ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  EXPECT_THAT(reader.Wait(), ExitedWith(0));
  EXPECT_THAT(writer.Wait(), ExitedWith(0));
}

TEST_F(RwLockCoreTest, AReaderThatDiesAsItWaitsForACellHasChangedNothing) {
  for (int i = 0; i < kCells; ++i) ASSERT_THAT(Read(), IsOk());
  Child reader = RunInChild([&] { return Read(); });
  AwaitCondition([&] { return state().core.drain != 0; });
  reader.Kill(SIGKILL);
  reader.Wait();
  ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  EXPECT_THAT(Read(), IsOk());
  for (int i = 0; i < kCells; ++i) ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  EXPECT_THAT(Write(), IsOk());
}

// 0x0f0f0f0f * 17 is the largest number of 32 bits.
TEST_F(RwLockCoreTest, AnyMemberFindsAllCells) {
  constexpr MemberId kId = 0x0f0f0f0f;
  constexpr uint32_t kIndex = kId % MembersTable::kMaxMembers;
  table().next = kIndex;
  table().entries[kIndex].generation_and_pid =
      uint64_t{(kId >> MembersTable::kIndexBits) - 1} << 32;
  ASSERT_EQ(members().Self().value(), kId);
  for (int i = 0; i < kCells; ++i) ASSERT_THAT(TryToRead(), IsOk()) << i;
}

TEST_F(RwLockCoreTest, DeadReadersMakeRoomForReaders) {
  for (int i = 0; i < kCells; ++i) RunAndKill([&] { return Read(); });
  EXPECT_EQ(lock_.Readers(), size_t{kCells});
  EXPECT_THAT(Read(), IsOk());
}

TEST_F(RwLockCoreTest, DeadReadersDoNotKeepAWriterOut) {
  RunAndKill([&] { return Read(); });
  EXPECT_THAT(TryToWrite(), IsOk());
  ASSERT_THAT(lock_.ReleaseWrite(), IsOk());

  Child reader = StartAndStay([&] { return Read(); });
  Child writer = StartWriterThatWaits();
  reader.Kill(SIGKILL);
  EXPECT_THAT(writer.Wait(), ExitedWith(0));
}

TEST_F(RwLockCoreTest, AStoppedReaderKeepsAWriterOut) {
  Child reader = StartAndStay([&] { return Read(); });
  reader.Kill(SIGSTOP);
  EXPECT_THAT(lock_.AcquireWrite(absl::Milliseconds(120)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(RwLockCoreTest, TheDeathOfAWriterIsTold) {
  const pid_t dead = RunAndKill([&] { return Write(); });
  const auto is_told = StatusIs(absl::StatusCode::kAborted,
                                HasSubstr(absl::StrCat("pid ", dead)));
  EXPECT_THAT(Read(), is_told);
  EXPECT_THAT(Write(), is_told);
  EXPECT_THAT(TryToRead(), is_told);
  EXPECT_EQ(lock_.Readers(), 0u);
  ASSERT_THAT(lock_.AcquireAbandoned(), IsOk());
  EXPECT_THAT(InAnother([&] { return TryToRead(); }),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(lock_.MarkRepaired(), IsOk());
  ASSERT_THAT(lock_.ReleaseWrite(), IsOk());
  EXPECT_THAT(Read(), IsOk());
}

TEST_F(RwLockCoreTest, ARepairIsNotDoneUntilItIsSaidToBe) {
  RunAndKill([&] { return Write(); });
  RunAndKill([&] { return lock_.AcquireAbandoned(); });
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kAborted));
  ASSERT_THAT(lock_.AcquireAbandoned(), IsOk());
  ASSERT_THAT(lock_.ReleaseWrite(), IsOk());
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kAborted));
  RunAndKill([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(lock_.AcquireAbandoned());
    return lock_.MarkRepaired();
  });
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(RwLockCoreTest, AWriterThatDiesAsItWaitsHasChangedNothing) {
  ASSERT_THAT(Read(), IsOk());
  Child writer = StartWriterThatWaits();
  writer.Kill(SIGKILL);
  writer.Wait();
  EXPECT_THAT(Read(), IsOk());
  ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  EXPECT_THAT(Write(), IsOk());
}

TEST_F(RwLockCoreTest, TheDeathOfAWriterMayBeIgnored) {
  state().core.writer.on_owner_death = OnOwnerDeath::kIgnore;
  RunAndKill([&] { return Write(); });
  ASSERT_THAT(Read(), IsOk());
  ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  RunAndKill([&] { return Write(); });
  ASSERT_THAT(Write(), IsOk());
  ASSERT_THAT(lock_.ReleaseWrite(), IsOk());
}

TEST_F(RwLockCoreTest, AForkedChildHoldsNothing) {
  ASSERT_THAT(Read(), IsOk());
  EXPECT_THAT(RunInChild([&] { return lock_.ReleaseRead(); }).Wait(),
              ExitedWith(1));
  ASSERT_THAT(lock_.ReleaseRead(), IsOk());
  ASSERT_THAT(Write(), IsOk());
  EXPECT_THAT(RunInChild([&] { return lock_.ReleaseWrite(); }).Wait(),
              ExitedWith(1));
}

// Writers change both counts; readers, and other writers, never see only one
// of them changed.
TEST_F(RwLockCoreTest, ReadersNeverSeeHalfAChange) {
  const int rounds = Scaled(5'000, 50'000);
  const auto run = [&, this](bool writes) -> absl::Status {
    for (int i = 0; i < rounds; ++i) {
      MP_RETURN_IF_ERROR(writes ? Write() : Read());
      const bool is_whole = plain_count() == count();
      if (writes) {
        plain_count() += 1;
        count() += 1;
      }
      MP_RETURN_IF_ERROR(writes ? lock_.ReleaseWrite() : lock_.ReleaseRead());
      if (!is_whole) return absl::InternalError("half a change");
    }
    return absl::OkStatus();
  };
  std::vector<Child> children;
  for (int i = 0; i < 5; ++i) {
    children.push_back(RunInChild([&] { return run(i < 2); }));
  }
  for (Child& child : children) EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(plain_count(), 2 * rounds);

  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&, i] { EXPECT_THAT(run(i < 2), IsOk()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(plain_count(), 4 * rounds);
  EXPECT_EQ(lock_.ToString(), "RwLock(free)");
}

}  // namespace
}  // namespace mp::internal
