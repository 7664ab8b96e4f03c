#include "mp/process/pipeline.h"

#include <signal.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/stdio.h"
#include "mp/process/subprocess.h"
#include "mp/process/surroundings.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr absl::Duration kLong = absl::Seconds(60);

const SubprocessOptions kFromPipe = {
    .surroundings = {.stdin_from = Stdio::Pipe()}};
const SubprocessOptions kToPipe = {
    .surroundings = {.stdout_to = Stdio::Pipe()}};
const SubprocessOptions kErrors = {
    .surroundings = {.stderr_to = Stdio::Pipe()}};

class PipelineTest : public ::testing::Test {
 private:
  LeakCheck leak_check_;  // first, so that it goes last
};

TEST_F(PipelineTest, EachReadsWhatTheOneBeforeWrites) {
  absl::StatusOr<Pipeline> pipeline = Pipeline::Popen(
      {{{"sort"}, kFromPipe}, {{"uniq", "-c"}}, {{"sort", "-rn"}, kToPipe}});
  ASSERT_THAT(pipeline, IsOk());
  const auto output = pipeline->Communicate("a\nb\na\na\nb\nc\n", kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_EQ(output->out, "      3 a\n      2 b\n      1 c\n");
  EXPECT_THAT(pipeline->Poll(),
              ElementsAre(Optional(0), Optional(0), Optional(0)));
}

TEST_F(PipelineTest, ALotGoesThrough) {
  std::string text;
  for (int i = 0; text.size() < (16 << 20); ++i) {
    absl::StrAppend(&text, "line ", i, "\n");
  }
  absl::StatusOr<Pipeline> pipeline =
      Pipeline::Popen({{{"cat"}, kFromPipe},
                       {{"tr", "a-z", "A-Z"}},
                       {{"tr", "A-Z", "a-z"}, kToPipe}});
  ASSERT_THAT(pipeline, IsOk());
  const auto output = pipeline->Communicate(text, kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_TRUE(output->out == text);
}

TEST_F(PipelineTest, AWriterEndsWithItsReader) {
  // Whatever this process does with the signal.
  const auto before = signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<Pipeline> pipeline =
      Pipeline::Popen({{{"yes"}}, {{"cat"}}, {{"head", "-n1"}, kToPipe}});
  ASSERT_THAT(pipeline, IsOk());
  const auto output = pipeline->Communicate("", kLong);
  signal(SIGPIPE, before);
  ASSERT_THAT(output, IsOk());
  EXPECT_EQ(output->out, "y\n");
  EXPECT_THAT(pipeline->Poll(),
              ElementsAre(Optional(-SIGPIPE), Optional(-SIGPIPE), Optional(0)));
}

TEST_F(PipelineTest, EachHasItsReturnCodeAndStderr) {
  absl::StatusOr<Pipeline> pipeline =
      Pipeline::Popen({{{"sh", "-c", "echo one >&2; exit 1"}, kErrors},
                       {{"sh", "-c", "echo two >&2; exit 2"}, kErrors},
                       {{"sh", "-c", "kill -KILL $$"}}});
  ASSERT_THAT(pipeline, IsOk());
  const auto output = pipeline->Communicate("", kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_EQ(output->out, "");
  EXPECT_THAT(output->errs, ElementsAre("one\n", "two\n", ""));
  EXPECT_THAT(pipeline->Poll(),
              ElementsAre(Optional(1), Optional(2), Optional(-SIGKILL)));
}

TEST_F(PipelineTest, OneThatCannotBeStartedEndsTheOthers) {
  EXPECT_THAT(
      Pipeline::Popen({{{"sleep", "1000"}}, {{"no-such-program"}}, {{"cat"}}})
          .status(),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("no-such-program")));
}

TEST_F(PipelineTest, ATimeoutLeavesItToBeKilled) {
  absl::StatusOr<Pipeline> pipeline =
      Pipeline::Popen({{{"sh", "-c", "echo x; sleep 1000"}}, {{"cat"}}});
  ASSERT_THAT(pipeline, IsOk());
  EXPECT_THAT(pipeline->Communicate("", absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(pipeline->Wait(absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(pipeline->KillTree(), IsOk());
  EXPECT_THAT(pipeline->Wait(kLong), IsOk());
}

TEST_F(PipelineTest, OneProgramIsAPipelineNoneIsNot) {
  SubprocessOptions both = kFromPipe;
  both.surroundings.stdout_to = Stdio::Pipe();
  absl::StatusOr<Pipeline> pipeline = Pipeline::Popen({{{"cat"}, both}});
  ASSERT_THAT(pipeline, IsOk());
  const auto output = pipeline->Communicate("text", kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_EQ(output->out, "text");
  EXPECT_THAT(Pipeline::Popen({}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(PipelineTest, WhatIsBetweenIsThePipelines) {
  EXPECT_THAT(Pipeline::Popen({{{"cat"}, kToPipe}, {{"cat"}}}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("stdout"), HasSubstr("program 0"))));
  EXPECT_THAT(Pipeline::Popen({{{"cat"}}, {{"cat"}, kFromPipe}}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("stdin"), HasSubstr("program 1"))));
}

}  // namespace
}  // namespace mp
