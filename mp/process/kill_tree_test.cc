// Subprocess::KillTree(), and what Run() does when the time is over.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/stdio_pipe.h"
#include "mp/process/stdio.h"
#include "mp/process/subprocess.h"
#include "mp/process/surroundings.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::Optional;

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr char kProgram[] = "mp/process/testdata/subprocess_program";

// A pipe that all of a family hold, and write a byte to.
class Family {
 public:
  Family() {
    absl::StatusOr<internal::StdioPipe> pipe = internal::CreateStdioPipe();
    MP_CHECK_OK(pipe);
    pipe_ = *std::move(pipe);
  }

  std::vector<int> pass_fds() const { return {pipe_.writer.get()}; }
  std::vector<std::string> Command(const std::string& kind) const {
    return {kProgram, kind, absl::StrCat(pipe_.writer.get())};
  }

  // Waits until it has so many members.
  absl::Status AwaitMembers(size_t count) const {
    std::string bytes(count, '\0');
    return ReadUpTo(pipe_.reader.get(), bytes.data(), count).status();
  }

  // Waits until none is left. (One that is makes the test time out.)
  absl::Status AwaitEnd() {
    pipe_.writer.Close();
    return ReadToEnd(pipe_.reader.get()).status();
  }

 private:
  internal::StdioPipe pipe_;
};

class KillTreeTest : public ::testing::Test {
 private:
  LeakCheck leak_check_;  // first, so that it goes last
};

TEST_F(KillTreeTest, GoesThroughSessionsAndGroups) {
  Family family;
  absl::StatusOr<Subprocess> program =
      Subprocess::Popen(family.Command("family"),
                        {.pass_fds = family.pass_fds(), .process_group = true});
  ASSERT_THAT(program, IsOk());
  ASSERT_THAT(family.AwaitMembers(7), IsOk());
  EXPECT_THAT(program->KillTree(), IsOk());
  EXPECT_THAT(family.AwaitEnd(), IsOk());
  EXPECT_THAT(program->Wait(kLong), IsOk());
  EXPECT_THAT(program->returncode(), Optional(-SIGKILL));
}

TEST_F(KillTreeTest, SessionIncludesGroupsOfOrphans) {
  Family family;
  const std::string fd = absl::StrCat(family.pass_fds()[0]);
  // With job control each job has a group.
  absl::StatusOr<Subprocess> program =
      Subprocess::Popen({"sh", "-c",
                         absl::StrCat("set -m; (sleep 1000 & echo x >&", fd,
                                      ") & wait; sleep 1000")},
                        {.pass_fds = family.pass_fds(), .new_session = true});
  ASSERT_THAT(program, IsOk());
  ASSERT_THAT(family.AwaitMembers(2), IsOk());
  EXPECT_THAT(program->KillTree(), IsOk());
  EXPECT_THAT(family.AwaitEnd(), IsOk());
  EXPECT_THAT(program->Wait(kLong), IsOk());
}

TEST_F(KillTreeTest, NobodyIsBornMeanwhile) {
  for (int i = 0; i < 5; ++i) {
    Family family;
    absl::StatusOr<Subprocess> program = Subprocess::Popen(
        family.Command("hydra"),
        {.pass_fds = family.pass_fds(), .process_group = true});
    ASSERT_THAT(program, IsOk());
    ASSERT_THAT(family.AwaitMembers(2), IsOk());
    EXPECT_THAT(program->KillTree(), IsOk());
    EXPECT_THAT(family.AwaitEnd(), IsOk());
    EXPECT_THAT(program->Wait(kLong), IsOk());
  }
}

TEST_F(KillTreeTest, LeavesOthersAlone) {
  absl::StatusOr<Subprocess> other = Subprocess::Popen(
      {"cat"}, {.surroundings = {.stdin_from = Stdio::Pipe(),
                                 .stdout_to = Stdio::Pipe()}});
  ASSERT_THAT(other, IsOk());
  absl::StatusOr<Subprocess> program = Subprocess::Popen({"sleep", "1000"});
  ASSERT_THAT(program, IsOk());
  EXPECT_THAT(program->KillTree(), IsOk());
  EXPECT_THAT(program->Wait(kLong), IsOk());
  const auto output = other->Communicate("alive", kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_EQ(output->out, "alive");
}

TEST_F(KillTreeTest, OneThatHasEndedLeavesItsGroup) {
  Family family;
  absl::StatusOr<Subprocess> program = Subprocess::Popen(
      {"sh", "-c",
       absl::StrCat("sleep 1000 & echo x >&", family.pass_fds()[0])},
      {.pass_fds = family.pass_fds(), .process_group = true});
  ASSERT_THAT(program, IsOk());
  ASSERT_THAT(WaitForFd(program->sentinel(), POLLIN, Deadline(kLong)),
              IsOkAndHolds(true));
  EXPECT_THAT(program->KillTree(), IsOk());
  EXPECT_THAT(family.AwaitEnd(), IsOk());
  EXPECT_THAT(program->Wait(kLong), IsOk());
  EXPECT_THAT(program->returncode(), Optional(0));
}

// Not asked for a group of its own, even.
TEST_F(KillTreeTest, ATimeoutEndsGrandchildrenToo) {
  Family family;
  const std::string fd = absl::StrCat(family.pass_fds()[0]);
  EXPECT_THAT(Subprocess::Run(
                  {"sh", "-c", "setsid sleep 1000 & sleep 1000 & sleep 1000"},
                  {.program = {.pass_fds = family.pass_fds()},
                   .capture_output = true,
                   .timeout = absl::Milliseconds(300)})
                  .status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(family.AwaitEnd(), IsOk());
}

}  // namespace
}  // namespace mp
