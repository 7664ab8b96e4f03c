#include "mp/process/subprocess.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/process_report.h"
#include "mp/process/stdio.h"
#include "mp/process/surroundings.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::Marker;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr absl::Duration kLong = absl::Seconds(60);
// Long enough for what must not happen to happen.
constexpr absl::Duration kMoment = absl::Milliseconds(200);
constexpr char kProgram[] = "mp/process/testdata/subprocess_program";

std::string TestPath(absl::string_view name) {
  return absl::StrCat(::testing::TempDir(), "/subprocess_test.", getpid(), ".",
                      name);
}

// Makes an executable file.
std::string Script(absl::string_view name, absl::string_view text) {
  const std::string path = TestPath(name);
  std::ofstream(path) << text;
  chmod(path.c_str(), 0755);
  return path;
}

// Makes a system call fail with ENOSYS, here and in all children.
absl::Status Forbid(unsigned call) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program = {std::size(filter), filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "prctl(PR_SET_SECCOMP)");
}

class SubprocessTest : public ::testing::Test {
 private:
  LeakCheck leak_check_;  // first, so that it goes last
};

TEST_F(SubprocessTest, OutputIsReturned) {
  EXPECT_THAT(Subprocess::CheckOutput({"echo", "hello"}),
              IsOkAndHolds("hello\n"));
}

TEST_F(SubprocessTest, ArgumentsAreNotForAShell) {
  EXPECT_THAT(
      Subprocess::CheckOutput({"printf", "%s|", "a b", "$HOME", "*", ""}),
      IsOkAndHolds("a b|$HOME|*||"));
}

TEST_F(SubprocessTest, InputIsRead) {
  EXPECT_THAT(Subprocess::CheckOutput({"sort"}, {.input = "b\na\n"}),
              IsOkAndHolds("a\nb\n"));
}

TEST_F(SubprocessTest, ReturnCodeIsThatOfTheExitOrOfTheSignal) {
  const auto code = [](absl::string_view script) {
    const auto run = Subprocess::Run({"sh", "-c", std::string(script)});
    return run.ok() ? run->returncode : std::nullopt;
  };
  EXPECT_THAT(code("exit 0"), Optional(0));
  EXPECT_THAT(code("exit 255"), Optional(255));
  EXPECT_THAT(code("kill -KILL $$"), Optional(-SIGKILL));
  EXPECT_THAT(code("kill -TERM $$"), Optional(-SIGTERM));
}

TEST_F(SubprocessTest, CheckNamesTheEndAndQuotesStderr) {
  EXPECT_THAT(Subprocess::CheckCall({"true"}), IsOk());
  EXPECT_THAT(
      Subprocess::CheckCall({"sh", "-c", "echo it hurts >&2; exit 3"},
                            {.capture_output = true}),
      StatusIs(absl::StatusCode::kUnknown, "\"sh\" exited with 3: it hurts"));
  EXPECT_THAT(
      Subprocess::CheckOutput({"sh", "-c", "kill -KILL $$"}),
      StatusIs(absl::StatusCode::kUnknown, "\"sh\" was killed by signal 9"));
}

TEST_F(SubprocessTest, WhatCannotBeExecutedIsAnErrorOfTheStart) {
  const auto start = [](std::vector<std::string> args) {
    return Subprocess::Popen(std::move(args)).status();
  };
  EXPECT_THAT(
      start({"no-such-program"}),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("no-such-program"), HasSubstr("No such file"))));
  EXPECT_THAT(start({"/no/such/program"}),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(
      start({"/dev/null"}),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("/dev/null")));
  EXPECT_THAT(start({}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(start({""}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(start({"true", std::string("a\0b", 3)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NUL")));
  EXPECT_THAT(
      start({"true", std::string(10 << 20, 'x')}),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("too long")));
}

TEST_F(SubprocessTest, ScriptsNeedAnInterpreterThatIsThere) {
  const std::string none = Script("none", "echo never\n");
  EXPECT_THAT(Subprocess::Popen({none}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("#!")));
  const std::string missing = Script("missing", "#!/no/such/shell\n");
  EXPECT_THAT(Subprocess::Popen({missing}).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("interpreter")));
  const std::string whole = Script("whole", "#!/bin/sh\necho $0 $1\n");
  EXPECT_THAT(Subprocess::CheckOutput({whole, "x"}),
              IsOkAndHolds(whole + " x\n"));
  for (const std::string& path : {none, missing, whole}) {
    std::filesystem::remove(path);
  }
}

// The PATH that counts is the new one; the first that may be executed is taken.
TEST_F(SubprocessTest, ProgramIsSearchedForWhereItsOwnPathSays) {
  const std::string folder = TestPath("bin");
  std::filesystem::create_directory(folder);
  std::ofstream(folder + "/only-here") << "#!/bin/sh\necho found\n";
  EXPECT_THAT(Subprocess::Popen({"only-here"}).status(),
              StatusIs(absl::StatusCode::kNotFound));
  const SubprocessOptions options = {
      .surroundings = {
          .set_variables = {{"PATH", absl::StrCat("/no/such:", folder)}}}};
  EXPECT_THAT(Subprocess::Popen({"only-here"}, options).status(),
              StatusIs(absl::StatusCode::kPermissionDenied));
  chmod((folder + "/only-here").c_str(), 0755);
  EXPECT_THAT(Subprocess::CheckOutput({"only-here"}, {.program = options}),
              IsOkAndHolds("found\n"));
  // An empty entry is the working directory, that of the program.
  EXPECT_THAT(
      Subprocess::CheckOutput(
          {"only-here"},
          {.program = {.surroundings = {.cwd = folder,
                                        .set_variables = {{"PATH",
                                                           ":/bin"}}}}}),
      IsOkAndHolds("found\n"));
  std::filesystem::remove_all(folder);
}

TEST_F(SubprocessTest, ExecutableMayDifferFromTheName) {
  EXPECT_THAT(Subprocess::CheckOutput({"another name", "-c", "echo $0"},
                                      {.program = {.executable = "/bin/sh"}}),
              IsOkAndHolds("another name\n"));
}

TEST_F(SubprocessTest, SurroundingsAreThoseAskedFor) {
  EXPECT_THAT(
      Subprocess::CheckOutput(
          {std::filesystem::absolute(kProgram), "surroundings"},
          {.program = {.surroundings = {.cwd = "/",
                                        .nice = 19,
                                        .rlimits = {{RLIMIT_NOFILE, 50, 60}},
                                        .umask = 0123}}}),
      IsOkAndHolds("/ umask=123 nice=19 files=50/60"));
}

TEST_F(SubprocessTest, WrongSurroundingsAreAnErrorOfTheStart) {
  EXPECT_THAT(Subprocess::Popen({"true"}, {.surroundings = {.cwd = "/no/such"}})
                  .status(),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("true"), HasSubstr("/no/such"))));
  // One that shows only when it is applied.
  EXPECT_THAT(
      Subprocess::Popen({"true"},
                        {.surroundings = {.rlimits = {{RLIMIT_NOFILE, 5,
                                                       RLIM_INFINITY - 1}}}})
          .status(),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("rlimits")));
}

TEST_F(SubprocessTest, StderrLeadsToStdoutOrAPipeOfItsOwn) {
  const std::vector<std::string> both = {"sh", "-c", "echo out; echo err >&2"};
  EXPECT_THAT(
      Subprocess::CheckOutput(
          both, {.program = {.surroundings = {.stderr_to = Stdio::Stdout()}}}),
      IsOkAndHolds("out\nerr\n"));
  const auto run = Subprocess::Run(both, {.capture_output = true});
  ASSERT_THAT(run, IsOk());
  EXPECT_EQ(run->out, "out\n");
  EXPECT_EQ(run->err, "err\n");
}

TEST_F(SubprocessTest, FileAndNullAndDescriptor) {
  const std::string path = TestPath("file");
  std::ofstream(path) << "text";
  Marker marker = *Marker::Create();
  EXPECT_THAT(Subprocess::CheckCall(
                  {"tee", "/dev/stderr"},
                  {.program = {.surroundings = {.stdin_from = Stdio::File(
                                                    path, Stdio::Mode::kRead),
                                                .stdout_to = Stdio::Null(),
                                                .stderr_to = Stdio::FromFd(
                                                    marker.writer().get())}}}),
              IsOk());
  char text[4];
  EXPECT_THAT(ReadUpTo(marker.reader().get(), text, 4), IsOkAndHolds(4u));
  EXPECT_EQ(absl::string_view(text, 4), "text");
  std::filesystem::remove(path);
}

// A pipe and not a socket, which cannot be opened by this name.
TEST_F(SubprocessTest, PipesCanBeOpenedByName) {
  EXPECT_THAT(Subprocess::CheckOutput({"cat", "/dev/stdin"}, {.input = "text"}),
              IsOkAndHolds("text"));
}

TEST_F(SubprocessTest, NothingButStdioAndTheListedIsInherited) {
  // Inheritable, as a careless program has them.
  const Fd first(open("/dev/null", O_RDWR));
  const Fd second(fcntl(first.get(), F_DUPFD, 100));
  const Fd third(fcntl(first.get(), F_DUPFD_CLOEXEC, 200));
  EXPECT_THAT(Subprocess::CheckOutput({kProgram, "fds"}),
              IsOkAndHolds("0 1 2 "));
  EXPECT_THAT(Subprocess::CheckOutput(
                  {kProgram, "fds"},
                  {.program = {.pass_fds = {third.get(), second.get(), 1}}}),
              IsOkAndHolds(
                  absl::StrCat("0 1 2 ", second.get(), " ", third.get(), " ")));
  EXPECT_THAT(Subprocess::Popen({"true"}, {.pass_fds = {987}}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("987")));
  EXPECT_NE(fcntl(third.get(), F_GETFD) & FD_CLOEXEC, 0);
  // A number that the start itself would use next.
  const int closed = Fd::DupOf(first.get())->get();
  EXPECT_THAT(Subprocess::Popen({"true"}, {.surroundings = {.cwd = "/"},
                                           .pass_fds = {closed}})
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Before Linux 5.9, or in a container that forbids it, there is no close_range;
// and there may be nothing that lists descriptors.
TEST_F(SubprocessTest, NothingMoreIsInheritedWithoutCloseRange) {
  const Fd first(open("/dev/null", O_RDWR));
  const Fd second(fcntl(first.get(), F_DUPFD, 100));
  const Fd third(fcntl(first.get(), F_DUPFD, 200));
  const SubprocessOptions options = {.pass_fds = {third.get()}};
  auto child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(Forbid(SYS_close_range));
    EXPECT_THAT(
        Subprocess::CheckOutput({kProgram, "fds"}, {.program = options}),
        IsOkAndHolds(absl::StrCat("0 1 2 ", third.get(), " ")));
    MP_RETURN_IF_ERROR(Forbid(SYS_getdents64));
    const std::string script =
        absl::StrCat("test ! -e /proc/self/fd/", second.get(),
                     " && test -e /proc/self/fd/", third.get());
    EXPECT_THAT(
        Subprocess::CheckCall({"sh", "-c", script}, {.program = options}),
        IsOk());
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(SubprocessTest, SignalsAreAsInAFreshProgram) {
  auto child = RunInChild([]() -> absl::Status {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, [](int) {});
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    const auto line = [](const char* name, bool restore) {
      return Subprocess::CheckOutput({kProgram, "status", name},
                                     {.program = {.restore_signals = restore}});
    };
    EXPECT_THAT(line("SigBlk", true),
                IsOkAndHolds(EndsWith("\t0000000000000000\n")));
    // SIGUSR1 is 10, SIGPIPE 13. (Sanitizers catch others.)
    EXPECT_THAT(line("SigIgn", true), IsOkAndHolds(EndsWith("200\n")));
    EXPECT_THAT(line("SigIgn", false), IsOkAndHolds(EndsWith("1200\n")));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(SubprocessTest, WorksWithoutStdioOfTheCallersOwn) {
  Marker marker = *Marker::Create();
  auto child = RunInChild([&]() -> absl::Status {
    for (const int fd : {0, 1, 2}) close(fd);
    MP_ASSIGN_OR_RETURN(
        const std::string out,
        Subprocess::CheckOutput({"tr", "a", "b"}, {.input = "aaa"}));
    if (out != "bbb") return absl::InternalError(out);
    // What it has not been given is there, and takes nothing.
    MP_ASSIGN_OR_RETURN(const std::string fds,
                        Subprocess::CheckOutput({kProgram, "fds"}));
    if (fds != "0 1 2 ") return absl::InternalError(fds);
    // A file of the caller's that has come to lie there is not its stdout.
    const Fd file(open("/dev/full", O_RDWR | O_CLOEXEC));
    MP_ASSIGN_OR_RETURN(
        const auto run,
        Subprocess::Run({"sh", "-c", "[ -e /proc/self/fd/0 ] && ! cat"}));
    MP_RETURN_IF_ERROR(run.Check());
    return marker.Signal();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(marker.Await(), IsOk());
}

TEST_F(SubprocessTest, WaitPollAndSignals) {
  absl::StatusOr<Subprocess> sleep = Subprocess::Popen({"sleep", "1000"});
  ASSERT_THAT(sleep, IsOk());
  EXPECT_EQ(sleep->Poll(), std::nullopt);
  EXPECT_THAT(sleep->Wait(absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(sleep->Terminate(), IsOk());
  EXPECT_THAT(WaitForFd(sleep->sentinel(), POLLIN, Deadline(kLong)),
              IsOkAndHolds(true));
  EXPECT_EQ(sleep->returncode(), std::nullopt);
  EXPECT_THAT(sleep->Wait(kLong), IsOk());
  EXPECT_THAT(sleep->Wait(kLong), IsOk());
  EXPECT_THAT(sleep->returncode(), Optional(-SIGTERM));
  EXPECT_THAT(sleep->Kill(), IsOk());
  EXPECT_THAT(sleep->KillTree(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(SubprocessTest, ReportTellsTheEndAndTheCost) {
  const auto start = std::chrono::steady_clock::now();
  absl::StatusOr<Subprocess> program =
      Subprocess::Popen({"sh", "-c", "cat; kill -TERM $$"},
                        {.surroundings = {.stdin_from = Stdio::Pipe()}});
  ASSERT_THAT(program, IsOk());
  EXPECT_THAT(program->Report(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(program->Communicate("", kLong), IsOk());
  const absl::StatusOr<ProcessReport> report = program->Report();
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->name, "sh");
  EXPECT_EQ(report->pid, program->pid());
  EXPECT_THAT(report->signal(), Optional(SIGTERM));
  ASSERT_TRUE(report->usage.has_value());
  EXPECT_GT(report->usage->max_rss_bytes, 0);
  EXPECT_LE(report->wall_time,
            absl::FromChrono(std::chrono::steady_clock::now() - start));
}

TEST_F(SubprocessTest, CodeTakenByAnotherWaitIsUnknown) {
  absl::StatusOr<Subprocess> program = Subprocess::Popen({"false"});
  ASSERT_THAT(program, IsOk());
  EXPECT_EQ(RetryOnEintr([&] { return waitpid(program->pid(), nullptr, 0); }),
            program->pid());
  EXPECT_THAT(program->Wait(kLong), IsOk());
  EXPECT_EQ(program->returncode(), std::nullopt);
}

TEST_F(SubprocessTest, MovedFromOnesAndStrangersAreRefused) {
  absl::StatusOr<Subprocess> program = Subprocess::Popen({"true"});
  ASSERT_THAT(program, IsOk());
  Subprocess moved = *std::move(program);
  EXPECT_THAT(program->Wait(), StatusIs(absl::StatusCode::kFailedPrecondition));
  auto child = RunInChild([&]() -> absl::Status {
    EXPECT_THAT(moved.Wait(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("belongs to process")));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(moved.Wait(kLong), IsOk());
}

TEST_F(SubprocessTest, NoneOfAHundredLeavesAnythingBehind) {
  std::vector<Subprocess> programs;
  for (int i = 0; i < 100; ++i) {
    absl::StatusOr<Subprocess> program = Subprocess::Popen(
        {"cat"}, {.surroundings = {.stdin_from = Stdio::Pipe(),
                                   .stdout_to = Stdio::Pipe(),
                                   .stderr_to = Stdio::Pipe()}});
    ASSERT_THAT(program, IsOk());
    programs.push_back(*std::move(program));
  }
  for (int i = 0; i < 100; ++i) {
    const auto output = programs[i].Communicate(absl::StrCat(i), kLong);
    ASSERT_THAT(output, IsOk());
    EXPECT_EQ(output->out, absl::StrCat(i));
  }
}

// Its pipes are closed with it, so it ends; the next start reaps it.
TEST_F(SubprocessTest, AForgottenOneEndsAndIsReaped) {
  absl::StatusOr<Fd> pidfd;
  {
    absl::StatusOr<Subprocess> cat = Subprocess::Popen(
        {"cat"}, {.surroundings = {.stdin_from = Stdio::Pipe()}});
    ASSERT_THAT(cat, IsOk());
    pidfd = Fd::DupOf(cat->sentinel());
    ASSERT_THAT(pidfd, IsOk());
  }
  EXPECT_THAT(WaitForFd(pidfd->get(), POLLIN, Deadline(kLong)),
              IsOkAndHolds(true));
  EXPECT_THAT(Subprocess::CheckCall({"true"}), IsOk());
}

TEST_F(SubprocessTest, CallersThatExitLeaveNoneBehindAndDoNotHang) {
  const std::string caller = "mp/process/testdata/subprocess_caller";
  const auto exits = [&](const std::string& how) {
    const auto run =
        Subprocess::Run({caller, how}, {.timeout = absl::Seconds(60)});
    return run.ok() ? run->returncode : std::nullopt;
  };
  EXPECT_THAT(exits("exit"), Optional(3));
  EXPECT_THAT(exits("exit_daemon"), Optional(3));
}

TEST_F(SubprocessTest, EndsWithItsParentHoweverThatEnds) {
  Marker marker = *Marker::Create();
  const std::string writer = absl::StrCat(marker.writer().get());
  absl::StatusOr<Subprocess> caller = Subprocess::Popen(
      {"mp/process/testdata/subprocess_caller", "wait", writer},
      {.pass_fds = {marker.writer().get()}});
  ASSERT_THAT(caller, IsOk());
  ASSERT_THAT(marker.Await(), IsOk());
  const Fd reader = *marker.reader().Dup();
  marker = *Marker::Create();  // closes the writer, so the program has the last
  // The thread that started the program has ended, and the program lives.
  EXPECT_THAT(WaitForFd(reader.get(), POLLIN, Deadline(kMoment)),
              IsOkAndHolds(false));
  EXPECT_THAT(caller->Kill(), IsOk());
  EXPECT_THAT(caller->Wait(kLong), IsOk());
  EXPECT_THAT(WaitForFd(reader.get(), POLLIN, Deadline(kLong)),
              IsOkAndHolds(true));
  char byte;
  EXPECT_THAT(ReadUpTo(reader.get(), &byte, 1), IsOkAndHolds(0u));
}

}  // namespace
}  // namespace mp
