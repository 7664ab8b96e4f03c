#include "mp/process/executable.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Optional;

class ExecutableTest : public internal::StartMethodTest {
 protected:
  void SetUp() override { internal::ForkServer::Get().Stop(); }
  void TearDown() override {
    EXPECT_THAT(SetExecutable(""), IsOk());
    internal::ForkServer::Get().Stop();
    std::filesystem::remove(script_);
  }

  // Writes a script that ends in `last`.
  const std::string& MakeScript(absl::string_view last) {
    std::ofstream(script_) << "#!/bin/sh\nexport MP_TEST_WRAPPED=yes\n"
                           << last << "\n";
    chmod(script_.c_str(), 0755);
    return script_;
  }

  std::optional<int> RunWrapped() {
    Process process({.context = GetParam()}, [] {
      const char* const wrapped = getenv("MP_TEST_WRAPPED");
      // The fork server's own environment is not its children's.
      Exit(wrapped == nullptr ? 1 : 2);
    });
    MP_CHECK_OK(process.Start());
    MP_CHECK_OK(process.Join(kLong));
    return process.exitcode();
  }

 private:
  const std::string script_ =
      absl::StrCat(::testing::TempDir(), "/wrapper_", getpid());
};

MP_INSTANTIATE_TEST_SUITE(ExecutableTest, CleanStartMethods);

TEST_P(ExecutableTest, IsExecutedInPlaceOfTheProgram) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  ASSERT_THAT(SetExecutable(MakeScript(absl::StrCat("echo wrapped >&2; exec '",
                                                    program, "' \"$@\""))),
              IsOk());
  ::testing::internal::CaptureStderr();
  EXPECT_THAT(RunWrapped(),
              Optional(GetParam() == StartMethod::kSpawn ? 2 : 1));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("wrapped"));
  ASSERT_THAT(SetExecutable(""), IsOk());
  internal::ForkServer::Get().Stop();
  EXPECT_THAT(RunWrapped(), Optional(1));
}

TEST_P(ExecutableTest, AnotherProgramIsAnErrorOrAnExitCode) {
  ASSERT_THAT(SetExecutable(MakeScript("exit 7")), IsOk());
  Process process({.context = GetParam()}, [] {});
  const absl::Status started = process.Start();
  if (GetParam() == StartMethod::kForkServer) {
    EXPECT_THAT(started, StatusIs(absl::StatusCode::kUnavailable,
                                  HasSubstr("fork server")));
  } else if (started.ok()) {
    EXPECT_THAT(process.Join(kLong), IsOk());
    EXPECT_THAT(process.exitcode(), Optional(7));
  }
}

TEST_P(ExecutableTest, WhatCannotBeExecutedIsRefused) {
  EXPECT_THAT(SetExecutable("/no such program"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no such")));
  EXPECT_THAT(SetExecutable("/proc/self/maps"),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("/proc/self/maps")));
  EXPECT_THAT(SetExecutable("/"), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("no file")));
  EXPECT_THAT(RunWrapped(), Optional(1));
}

}  // namespace
}  // namespace mp
