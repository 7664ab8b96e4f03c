#ifndef MP_SYNC_INTERNAL_SHARED_STATE_TEST_FIXTURE_H_
#define MP_SYNC_INTERNAL_SHARED_STATE_TEST_FIXTURE_H_

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/members.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

// What tests share of that which works on a state and the members that share
// it, without an arena.
//
// Example:
//   class LockWordTest : public SharedStateTest<LockWordState> {};
//   TEST_F(LockWordTest, IsFree) { EXPECT_EQ(state().word.load(), 0u); }
namespace mp::internal {

// Longer than anything takes that works.
inline constexpr absl::Duration kLongWait = absl::Seconds(60);

// Waits until `condition` holds. Looks often enough.
inline void AwaitCondition(absl::FunctionRef<bool()> condition) {
  while (!condition()) absl::SleepFor(absl::Milliseconds(1));
}

template <typename State>
class SharedStateTest : public ::testing::Test {
 protected:
  SharedStateTest() {
    file_ = Fd(memfd_create("shared_state_test", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(file_.get(), sizeof(Shared)), 0);
    shared_ = static_cast<Shared*>(mmap(nullptr, sizeof(Shared),
                                        PROT_READ | PROT_WRITE, MAP_SHARED,
                                        file_.get(), 0));
    EXPECT_NE(shared_, MAP_FAILED);
    members_ = Members::Attach(file_.get(), shared_->table).value();
  }
  ~SharedStateTest() override {
    members_.reset();
    munmap(shared_, sizeof(Shared));
  }

  // All zero at first. Children share it.
  State& state() { return shared_->state; }
  Members& members() { return *members_; }
  MembersTable& table() { return shared_->table; }

  // For the test's own ends; children share it, and it is no lock.
  int64_t& plain_count() { return shared_->plain_count; }
  std::atomic<int64_t>& count() { return shared_->count; }

  // Starts a child that runs `body`, says so, and stays.
  testing::Child StartAndStay(absl::FunctionRef<absl::Status()> body) {
    testing::Child child = testing::RunInChild([&]() -> absl::Status {
      if (absl::Status status = body(); !status.ok()) return status;
      if (absl::Status status = ready_.Signal(); !status.ok()) return status;
      while (true) pause();
    });
    EXPECT_THAT(ready_.Await(), testing::IsOk());
    return child;
  }

  // Starts a child that runs `body` and is killed.
  pid_t RunAndKill(absl::FunctionRef<absl::Status()> body) {
    testing::Child child = StartAndStay(body);
    const pid_t pid = child.pid();
    child.Kill(SIGKILL);
    child.Wait();
    return pid;
  }

 private:
  struct Shared {
    MembersTable table;
    State state;
    int64_t plain_count;
    std::atomic<int64_t> count;
  };

  testing::LeakCheck leak_check_;
  Fd file_;
  Shared* shared_ = nullptr;
  std::unique_ptr<Members> members_;
  testing::Marker ready_ = *testing::Marker::Create();
};

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_SHARED_STATE_TEST_FIXTURE_H_
