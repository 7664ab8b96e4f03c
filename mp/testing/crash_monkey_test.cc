#include "mp/testing/crash_monkey.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/futex.h"
#include "mp/base/status_macros.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::testing {
namespace {

using ::testing::AllOf;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Le;

const CrashMonkey::Options kFewKills = {.processes = 3, .kills = 20};

// What the processes share.
struct Shared {
  FutexWord word = 0;
  std::atomic<int> inside = -1;
  std::atomic<int> starts = 0;
  std::atomic<int> continued = 0;
};

class CrashMonkeyTest : public ::testing::Test {
 protected:
  ~CrashMonkeyTest() override { munmap(shared_, sizeof(Shared)); }

  // A turn of one that holds a lock, in which two would see each other.
  absl::Status Inside(const MonkeyMember& me) {
    shared_->inside = me.index();
    for (int look = 0; look < 2000; ++look) {
      if (shared_->inside != me.index()) {
        return absl::InternalError("two are inside");
      }
    }
    return absl::OkStatus();
  }

  // A lock that stays locked when its holder is killed.
  void LockForGood() {
    while (shared_->word.exchange(1) != 0) {
      FutexWait(shared_->word, 1, Deadline(absl::InfiniteDuration()));
    }
  }
  void UnlockForGood() {
    shared_->word = 0;
    FutexWake(shared_->word, 1);
  }

  // One that the kernel opens then: a record lock (man 2 fcntl).
  void SetFileLock(short type) {
    struct flock lock = {};
    lock.l_type = type;
    while (fcntl(file_.get(), F_SETLKW, &lock) != 0) continue;
  }

  LeakCheck leak_check_;
  const Fd file_ = Fd(memfd_create("crash_monkey_test", MFD_CLOEXEC));
  Shared* const shared_ =
      new (mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared;
};

TEST_F(CrashMonkeyTest, LockThatItsHolderTakesAlongIsSeenToHang) {
  CrashMonkey::Options options = kFewKills;
  options.kills = 60;  // Until one hits the holder.
  options.patience = absl::Seconds(1);
  CrashMonkey monkey(options);
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
    while (me.GoesOn()) {
      LockForGood();
      MP_RETURN_IF_ERROR(Inside(me));
      UnlockForGood();
    }
    return absl::OkStatus();
  }),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("hangs"), HasSubstr("MP_TEST_SEED="))));
}

TEST_F(CrashMonkeyTest, LockThatOutlivesItsHolderPasses) {
  CrashMonkey monkey({});
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
    while (me.GoesOn()) {
      SetFileLock(F_WRLCK);
      MP_RETURN_IF_ERROR(Inside(me));
      SetFileLock(F_UNLCK);
    }
    return absl::OkStatus();
  }),
              IsOk());
  EXPECT_GT(monkey.turns(), 2 * 8);
}

TEST_F(CrashMonkeyTest, TwoInsideAreSeen) {
  CrashMonkey::Options options = kFewKills;
  options.kills = 100'000;  // The error ends it long before.
  CrashMonkey monkey(options);
  EXPECT_THAT(
      monkey.Run([&](MonkeyMember& me) -> absl::Status {
        while (me.GoesOn()) MP_RETURN_IF_ERROR(Inside(me));
        return absl::OkStatus();
      }),
      StatusIs(absl::StatusCode::kInternal, HasSubstr("exited with 1")));
}

TEST_F(CrashMonkeyTest, KilledOnesAreReplaced) {
  CrashMonkey monkey(kFewKills);
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) {
    ++shared_->starts;
    while (me.GoesOn()) continue;
    return absl::OkStatus();
  }),
              IsOk());
  EXPECT_THAT(shared_->starts, AllOf(Gt(3), Le(3 + 20)));
}

TEST_F(CrashMonkeyTest, SomeAreOnlyStopped) {
  CrashMonkey::Options options = kFewKills;
  options.kills = 100;
  options.seed = 1;  // By chance, there may be none.
  CrashMonkey monkey(options);
  static Shared* shared;
  shared = shared_;
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) {
    signal(SIGCONT, [](int) { ++shared->continued; });
    while (me.GoesOn()) continue;
    return absl::OkStatus();
  }),
              IsOk());
  EXPECT_GT(shared_->continued, 0);
}

TEST_F(CrashMonkeyTest, EndThatIsNotTheMonkeysIsAnError) {
  EXPECT_THAT(
      CrashMonkey(kFewKills).Run(
          [](MonkeyMember&) -> absl::Status { _exit(0); }),
      StatusIs(absl::StatusCode::kInternal, HasSubstr("exited with 0")));
  EXPECT_THAT(CrashMonkey(kFewKills).Run([](MonkeyMember&) {
    raise(SIGTERM);
    return absl::OkStatus();
  }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("signal 15")));
}

TEST_F(CrashMonkeyTest, EndWithoutAKillIsAnErrorToo) {
  CrashMonkey::Options options = kFewKills;
  options.kills = 0;
  EXPECT_THAT(CrashMonkey(options).Run([](MonkeyMember& me) {
    while (me.GoesOn()) continue;
    return absl::InternalError("as wanted");
  }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("with 1")));
}

TEST_F(CrashMonkeyTest, OneThatDoesNotEndHangs) {
  CrashMonkey::Options options = kFewKills;
  options.patience = absl::Seconds(1);
  EXPECT_THAT(
      CrashMonkey(options).Run([](MonkeyMember& me) -> absl::Status {
        while (true) me.GoesOn();
      }),
      StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("did not end")));
}

}  // namespace
}  // namespace mp::testing
