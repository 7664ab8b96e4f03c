#include "mp/process/surroundings.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/apply_surroundings.h"
#include "mp/process/internal/resolve_surroundings.h"
#include "mp/process/parcel.h"
#include "mp/process/stdio.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::ApplySurroundings;
using ::mp::internal::ReadSurroundings;
using ::mp::internal::Resolve;
using ::mp::internal::ResolvedSurroundings;
using ::mp::internal::WriteSurroundings;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

std::string TestPath(absl::string_view name) {
  return absl::StrCat(::testing::TempDir(), "/surroundings_test.", getpid(),
                      ".", name);
}

std::string FileText(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::StatusOr<ResolvedSurroundings> Send(
    const ResolvedSurroundings& surroundings) {
  Encoder encoder;
  WriteSurroundings(surroundings, encoder);
  MP_ASSIGN_OR_RETURN(Parcel parcel, std::move(encoder).Finish());
  Decoder decoder(std::move(parcel));
  MP_ASSIGN_OR_RETURN(ResolvedSurroundings sent, ReadSurroundings(decoder));
  MP_RETURN_IF_ERROR(decoder.ExpectEnd());
  return sent;
}

// Resolves and sends them, as the start of a process does, and takes them on.
absl::Status TakeOn(const Surroundings& surroundings) {
  MP_ASSIGN_OR_RETURN(ResolvedSurroundings resolved, Resolve(surroundings));
  MP_ASSIGN_OR_RETURN(ResolvedSurroundings sent, Send(resolved));
  return ApplySurroundings(std::move(sent));
}

absl::Status DropCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capset, &header, none) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "capset");
}

class SurroundingsTest : public ::testing::Test {
 private:
  LeakCheck leak_check_;  // first, so that it goes last
};

TEST_F(SurroundingsTest, NothingSaidChangesNothing) {
  const std::string cwd = std::filesystem::current_path();
  auto child = RunInChild([&]() -> absl::Status {
    setenv("MP_TEST_VARIABLE", "kept", 1);
    MP_RETURN_IF_ERROR(TakeOn({}));
    EXPECT_EQ(std::filesystem::current_path(), cwd);
    EXPECT_STREQ(getenv("MP_TEST_VARIABLE"), "kept");
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(SurroundingsTest, NumbersAreTakenOn) {
  auto child = RunInChild([&]() -> absl::Status {
    constexpr int kNice = 19;
    MP_RETURN_IF_ERROR(
        TakeOn({.nice = kNice,
                .rlimits = {{RLIMIT_CORE, 0, 0}, {RLIMIT_NOFILE, 100, 200}},
                .umask = 0123}));
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    EXPECT_EQ(limit.rlim_cur, 100u);
    EXPECT_EQ(limit.rlim_max, 200u);
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), kNice);
    EXPECT_EQ(umask(0), 0123u);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(SurroundingsTest, RunsOnTheCpusOnly) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  int last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(last, &before)) --last;
  auto child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(TakeOn({.cpu_affinity = {last}}));
    cpu_set_t now;
    sched_getaffinity(0, sizeof(now), &now);
    EXPECT_EQ(CPU_COUNT(&now), 1);
    EXPECT_TRUE(CPU_ISSET(last, &now));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(SurroundingsTest, CwdIsTakenOnWhateverItsNameBecomes) {
  const std::string folder = TestPath("cwd");
  const std::string renamed = TestPath("renamed");
  std::filesystem::create_directory(folder);
  auto child = RunInChild([&]() -> absl::Status {
    MP_ASSIGN_OR_RETURN(ResolvedSurroundings resolved,
                        Resolve({.cwd = folder}));
    std::filesystem::rename(folder, renamed);
    MP_RETURN_IF_ERROR(ApplySurroundings(std::move(resolved)));
    EXPECT_TRUE(
        std::filesystem::equivalent(std::filesystem::current_path(), renamed));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  std::filesystem::remove(renamed);
}

TEST_F(SurroundingsTest, EnvironmentIsReplacedOrChanged) {
  auto child = RunInChild([&]() -> absl::Status {
    setenv("MP_TEST_OLD", "old", 1);
    setenv("MP_TEST_GONE", "gone", 1);
    MP_RETURN_IF_ERROR(TakeOn({.set_variables = {{"MP_TEST_NEW", "a=b"}},
                               .unset_variables = {"MP_TEST_GONE", "NONE"}}));
    EXPECT_STREQ(getenv("MP_TEST_OLD"), "old");
    EXPECT_STREQ(getenv("MP_TEST_NEW"), "a=b");
    EXPECT_EQ(getenv("MP_TEST_GONE"), nullptr);
    MP_RETURN_IF_ERROR(TakeOn({.environment = {{{"ONE", "1"}, {"TWO", ""}}},
                               .unset_variables = {"ONE"}}));
    EXPECT_STREQ(environ[0], "TWO=");
    EXPECT_EQ(environ[1], nullptr);
    // As it may be changed like any other.
    setenv("THREE", "3", 1);
    EXPECT_STREQ(getenv("THREE"), "3");
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(SurroundingsTest, StdioLeadsWhereItIsSaid) {
  const std::string in = TestPath("in");
  const std::string out = TestPath("out");
  std::ofstream(in) << "input";
  std::ofstream(out) << "before, ";
  auto child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(
        TakeOn({.stdin_from = Stdio::File(in, Stdio::Mode::kRead),
                .stdout_to = Stdio::File(out, Stdio::Mode::kAppend),
                .stderr_to = Stdio::Stdout()}));
    MP_ASSIGN_OR_RETURN(const std::string text, ReadToEnd(STDIN_FILENO));
    MP_RETURN_IF_ERROR(WriteAll(STDOUT_FILENO, text));
    return WriteAll(STDERR_FILENO, ", error");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(FileText(out), "before, input, error");
  std::filesystem::remove(in);
  std::filesystem::remove(out);
}

TEST_F(SurroundingsTest, GivenDescriptorsAndNull) {
  const std::string path = TestPath("fd");
  Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const int number = file.get();
  auto child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(TakeOn({.stdin_from = Stdio::Null(),
                               .stdout_to = Stdio::FromFd(number),
                               .stderr_to = Stdio::FromFd(std::move(file))}));
    MP_ASSIGN_OR_RETURN(const std::string text, ReadToEnd(STDIN_FILENO));
    EXPECT_EQ(text, "");
    MP_RETURN_IF_ERROR(WriteAll(STDOUT_FILENO, "o"));
    return WriteAll(STDERR_FILENO, "e");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(FileText(path), "oe");
  std::filesystem::remove(path);
}

// A limit of three descriptors must not keep those from their places.
TEST_F(SurroundingsTest, StdioIsTakenOnUnderTheTightestLimit) {
  auto child = RunInChild([&]() -> absl::Status {
    return TakeOn({.cwd = "/",
                   .stdin_from = Stdio::Null(),
                   .stdout_to = Stdio::Null(),
                   .rlimits = {{RLIMIT_NOFILE, 3, 3}}});
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(SurroundingsTest, AnOwnedDescriptorGoesWithTheLastCopy) {
  int number;
  {
    Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    number = null.get();
    const Surroundings first = {.stdout_to = Stdio::FromFd(std::move(null))};
    Surroundings copy = first;
    EXPECT_EQ(copy, first);
    EXPECT_GE(fcntl(number, F_GETFD), 0);
  }
  EXPECT_LT(fcntl(number, F_GETFD), 0);
}

TEST_F(SurroundingsTest, WhatIsWrongIsAnErrorOfTheCaller) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const auto status = [](const Surroundings& surroundings) {
    return Resolve(surroundings).status();
  };
  EXPECT_THAT(status({.cwd = "/no/such/folder"}),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("cwd: open(\"/no/such/folder")));
  EXPECT_THAT(status({.cwd = "/dev/null"}), ::testing::Not(IsOk()));
  EXPECT_THAT(status({.cwd = ""}), StatusIs(kInvalid, HasSubstr("empty")));
  EXPECT_THAT(status({.environment = {{{"A=B", "c"}}}}),
              StatusIs(kInvalid, HasSubstr("A=B")));
  EXPECT_THAT(status({.set_variables = {{"", "c"}}}),
              StatusIs(kInvalid, HasSubstr("environment")));
  EXPECT_THAT(status({.set_variables = {{"A", std::string("\0", 1)}}}),
              StatusIs(kInvalid, HasSubstr("NUL")));
  EXPECT_THAT(
      status({.stdin_from = Stdio::File("/no/such/file", Stdio::Mode::kRead)}),
      StatusIs(absl::StatusCode::kNotFound,
               HasSubstr("stdin: open(\"/no/such/file\")")));
  EXPECT_THAT(status({.stdout_to = Stdio::FromFd(987)}),
              StatusIs(kInvalid, HasSubstr("stdout: descriptor 987")));
  EXPECT_THAT(status({.stdout_to = Stdio::Stdout()}),
              StatusIs(kInvalid, HasSubstr("for stderr only")));
  EXPECT_THAT(status({.stdout_to = Stdio::Pipe()}),
              StatusIs(kInvalid, HasSubstr("for a Subprocess only")));
  EXPECT_THAT(status({.cpu_affinity = {0, 100000}}),
              StatusIs(kInvalid, HasSubstr("no CPU 100000")));
  EXPECT_THAT(status({.cpu_affinity = {-1}}),
              StatusIs(kInvalid, HasSubstr("no CPU -1")));
  EXPECT_THAT(status({.nice = 20}), StatusIs(kInvalid, HasSubstr("-20 to 19")));
  EXPECT_THAT(status({.rlimits = {{999, 0, 0}}}),
              StatusIs(kInvalid, HasSubstr("no resource 999")));
  EXPECT_THAT(status({.rlimits = {{RLIMIT_CORE, 2, 1}}}),
              StatusIs(kInvalid, HasSubstr("above the hard one")));
  EXPECT_THAT(status({.umask = 01000}),
              StatusIs(kInvalid, HasSubstr("above 0777")));
}

// As root, by giving the privileges away first.
TEST_F(SurroundingsTest, WhatTakesAPrivilegeIsAnErrorOfTheCaller) {
  const std::string folder = TestPath("forbidden");
  std::filesystem::create_directory(folder);
  ASSERT_EQ(chmod(folder.c_str(), 0), 0);
  auto child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(DropCapabilities());
    const struct rlimit low = {100, 100};
    setrlimit(RLIMIT_NOFILE, &low);
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_NICE, &none);
    constexpr auto kDenied = absl::StatusCode::kPermissionDenied;
    EXPECT_THAT(Resolve({.rlimits = {{RLIMIT_NOFILE, 100, 101}}}).status(),
                StatusIs(kDenied, HasSubstr("CAP_SYS_RESOURCE")));
    EXPECT_THAT(Resolve({.nice = -1}).status(),
                StatusIs(kDenied, HasSubstr("CAP_SYS_NICE")));
    EXPECT_THAT(Resolve({.cwd = folder}).status(), StatusIs(kDenied));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  std::filesystem::remove(folder);
}

// The kernel itself would drop the one that is not there without a word.
TEST_F(SurroundingsTest, ACpuThatCannotBeHadIsAnError) {
  auto child = RunInChild([&]() -> absl::Status {
    ResolvedSurroundings surroundings;
    surroundings.cpu_affinity = {sched_getcpu(), 4000};
    EXPECT_THAT(ApplySurroundings(std::move(surroundings)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("cpu_affinity")));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

}  // namespace
}  // namespace mp
