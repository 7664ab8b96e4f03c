#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/members.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

// A process is killed at each instruction of becoming a member. MP_TEST_FULL=1
// leaves out no instruction.

namespace mp {
namespace {

using ::testing::AnyOf;
using testing::IsOk;
using testing::Killed;
using testing::PtraceAllowed;
using testing::StepKiller;

class MembersStepTest : public ::testing::Test {
 protected:
  MembersStepTest() {
    file_ = Fd(memfd_create("members_step_test", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(file_.get(), sizeof(MembersTable)), 0);
    table_ = static_cast<MembersTable*>(mmap(nullptr, sizeof(MembersTable),
                                             PROT_READ | PROT_WRITE, MAP_SHARED,
                                             file_.get(), 0));
    EXPECT_NE(table_, MAP_FAILED);
    members_ = Attach();
  }
  ~MembersStepTest() override {
    members_.reset();
    munmap(table_, sizeof(MembersTable));
  }

  std::unique_ptr<Members> Attach() {
    return Members::Attach(file_.get(), *table_).value();
  }

  // Has all take the same place, one after another.
  void UseOnePlace() { table_->next = 7; }

  testing::LeakCheck leak_check_;
  Fd file_;
  MembersTable* table_ = nullptr;
  std::unique_ptr<Members> members_;
};

TEST_F(MembersStepTest, OneThatBecomesAMemberLeavesItsPlaceInOrder) {
  if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
  StepKiller killer([] { return absl::OkStatus(); },
                    [&] { return members_->Self().status(); });
  UseOnePlace();
  ASSERT_THAT(Attach()->Self(), IsOk());  // see StepKiller on first calls
  UseOnePlace();
  const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(300);
  ASSERT_THAT(points, IsOk());
  std::set<MemberId> ids;
  for (const int64_t at : *points) {
    SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
    UseOnePlace();
    auto before = Attach();
    const MemberId id = before->Self().value();
    ASSERT_TRUE(ids.insert(id).second) << "used again";
    before.reset();
    UseOnePlace();
    ASSERT_THAT(killer.KillAt(at), IsOk());
    // It does not seem to be the one that had its place before.
    ASSERT_THAT(members_->PidOf(id), AnyOf(getpid(), 0));
    ASSERT_EQ(members_->LifeOf(id), Life::kLeft);
  }
}

}  // namespace
}  // namespace mp
