// Subprocess::Communicate(), and the threads that call at the same time.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/internal/stdio_pipe.h"
#include "mp/process/process.h"
#include "mp/process/stdio.h"
#include "mp/process/subprocess.h"
#include "mp/process/surroundings.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/signal_storm.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::Marker;
using ::mp::testing::SignalStorm;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr absl::Duration kLong = absl::Seconds(120);
// Long enough for what must not happen to happen.
constexpr absl::Duration kMoment = absl::Milliseconds(200);
constexpr size_t kLot = 64 << 20;

// A text in which bytes that are lost or in the wrong place show.
const std::string& Lot() {
  static const std::string& text = *[] {
    auto* const made = new std::string(kLot, '\0');
    for (uint64_t i = 0; i < kLot / sizeof(i); ++i) {
      std::memcpy(&(*made)[i * sizeof(i)], &i, sizeof(i));
    }
    return made;
  }();
  return text;
}

SubprocessOptions Piped() {
  return {.surroundings = {.stdin_from = Stdio::Pipe(),
                           .stdout_to = Stdio::Pipe(),
                           .stderr_to = Stdio::Pipe()}};
}

Subprocess Start(std::vector<std::string> args,
                 SubprocessOptions options = Piped()) {
  absl::StatusOr<Subprocess> program =
      Subprocess::Popen(std::move(args), std::move(options));
  MP_CHECK_OK(program);
  return *std::move(program);
}

// A pipe for a program that is to go on only when it is told, by its end.
class Gate {
 public:
  Gate() {
    absl::StatusOr<internal::StdioPipe> pipe = internal::CreateStdioPipe();
    MP_CHECK_OK(pipe);
    pipe_ = *std::move(pipe);
  }
  int fd() const { return pipe_.reader.get(); }
  void Open() { pipe_.writer.Close(); }

 private:
  internal::StdioPipe pipe_;
};

class CommunicateTest : public ::testing::Test {
 private:
  LeakCheck leak_check_;  // first, so that it goes last
};

TEST_F(CommunicateTest, ALotGoesBothWays) {
  const std::string& text = Lot();
  const auto output = Start({"cat"}).Communicate(text, kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_TRUE(output->out == text);
  EXPECT_EQ(output->err, "");
}

TEST_F(CommunicateTest, ALotGoesThreeWays) {
  const std::string text = Lot().substr(0, 8 << 20);
  const auto output = Start({"tee", "/dev/stderr"}).Communicate(text, kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_TRUE(output->out == text);
  EXPECT_TRUE(output->err == text);
}

TEST_F(CommunicateTest, InputThatIsNotReadIsNoError) {
  std::atomic<int> signals = 0;
  static std::atomic<int>* const count = &signals;
  const auto before = signal(SIGPIPE, [](int) { ++*count; });
  const std::string& text = Lot();
  EXPECT_THAT(Start({"true"}).Communicate(text, kLong), IsOk());
  const auto head = Start({"head", "-c", "4"}).Communicate(text, kLong);
  ASSERT_THAT(head, IsOk());
  EXPECT_EQ(head->out, text.substr(0, 4));
  // One that closes its stdin and goes on.
  const auto closer = Start({"sh", "-c", "exec <&-; sleep 0.1; echo on"})
                          .Communicate(text, kLong);
  ASSERT_THAT(closer, IsOk());
  EXPECT_EQ(closer->out, "on\n");
  signal(SIGPIPE, before);
  EXPECT_EQ(signals, 0);
}

// One that a thread had blocked, and got from elsewhere, is still there after.
TEST_F(CommunicateTest, APendingSigpipeStays) {
  const std::vector<std::string> closer = {"sh", "-c", "exec <&-; sleep 0.1"};
  sigset_t broken_pipe;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
  EXPECT_THAT(Start(closer).Communicate(Lot(), kLong), IsOk());
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
  pthread_kill(pthread_self(), SIGPIPE);
  EXPECT_THAT(Start(closer).Communicate(Lot(), kLong), IsOk());
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 1);
  const timespec at_once = {};
  sigtimedwait(&broken_pipe, nullptr, &at_once);
  pthread_sigmask(SIG_UNBLOCK, &broken_pipe, nullptr);
}

TEST_F(CommunicateTest, GoesOnAfterATimeoutAndLosesNothing) {
  Gate gate;
  SubprocessOptions options = Piped();
  options.pass_fds = {gate.fd()};
  Subprocess program =
      Start({"sh", "-c", absl::StrCat("cat; cat <&", gate.fd(), "; echo done")},
            std::move(options));
  const std::string text = Lot().substr(0, 1 << 20);
  EXPECT_THAT(program.Communicate(text, kMoment),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("sh")));
  EXPECT_EQ(program.Poll(), std::nullopt);
  gate.Open();
  const auto output = program.Communicate("", kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_TRUE(output->out == text + "done\n");
  EXPECT_THAT(program.returncode(), Optional(0));
}

TEST_F(CommunicateTest, TooMuchOutputIsRefusedAndEndsARun) {
  EXPECT_THAT(
      Subprocess::CheckOutput({"yes"}, {.program = {.max_output_bytes = 1000}}),
      StatusIs(absl::StatusCode::kResourceExhausted,
               HasSubstr("max_output_bytes, 1000")));
  EXPECT_THAT(Subprocess::CheckOutput({"printf", "1234"},
                                      {.program = {.max_output_bytes = 4}}),
              IsOkAndHolds("1234"));
}

TEST_F(CommunicateTest, InputNeedsAPipe) {
  Subprocess program = Start({"true"}, {});
  EXPECT_THAT(program.Communicate("text", kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Pipe")));
  EXPECT_THAT(program.Communicate("", kLong), IsOk());
}

TEST_F(CommunicateTest, OutputOfAProgramThatIsKilledIsKept) {
  const auto run = Subprocess::Run({"sh", "-c", "echo last; kill -KILL $$"},
                                   {.capture_output = true});
  ASSERT_THAT(run, IsOk());
  EXPECT_EQ(run->out, "last\n");
  EXPECT_THAT(run->returncode, Optional(-SIGKILL));
}

// The usual trap: whoever reads to the end of the pipe waits for the heir.
TEST_F(CommunicateTest, AnHeirOfThePipeIsNotWaitedFor) {
  Gate gate;
  SubprocessOptions options = Piped();
  options.pass_fds = {gate.fd()};
  const std::string script =
      absl::StrCat("{ cat <&", gate.fd(), "; echo heir; } & echo program");
  Subprocess program = Start({"sh", "-c", script}, options);
  const auto output = program.Communicate("", kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_EQ(output->out, "program\n");

  options.until_closed = true;
  Subprocess patient = Start({"sh", "-c", script}, std::move(options));
  EXPECT_THAT(patient.Communicate("", kMoment),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  gate.Open();
  const auto all = patient.Communicate("", kLong);
  ASSERT_THAT(all, IsOk());
  EXPECT_EQ(all->out, "program\nheir\n");
}

TEST_F(CommunicateTest, SignalsDoNotDisturb) {
  const std::string text = Lot().substr(0, 8 << 20);
  const SignalStorm storm;
  const auto output = Start({"cat"}).Communicate(text, kLong);
  ASSERT_THAT(output, IsOk());
  EXPECT_TRUE(output->out == text);
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(Subprocess::CheckOutput({"echo", "x"}), IsOkAndHolds("x\n"));
  }
  EXPECT_THAT(Subprocess::Popen({"/no/such"}).status(),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_GT(storm.count(), 0);
}

TEST_F(CommunicateTest, ManyThreadsMayWaitForOneProgram) {
  Subprocess cat = Start({"cat"});
  std::vector<std::thread> threads;
  std::atomic<int> ended = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      cat.Poll();
      ended += cat.Wait(kLong).ok() && cat.returncode() == -SIGKILL;
      cat.Kill().IgnoreError();
    });
  }
  EXPECT_THAT(cat.Kill(), IsOk());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended, 8);
}

TEST_F(CommunicateTest, ManyThreadsMayRunPrograms) {
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 10; ++j) {
        const std::string text = absl::StrCat(i, ":", j);
        const auto output = Subprocess::CheckOutput({"cat"}, {.input = text});
        right += output.ok() && *output == text;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 80);
}

void SayAndWait(Fd ready, Fd gate) {
  MP_CHECK_OK(WriteAll(ready.get(), "x"));
  MP_CHECK_OK(ReadToEnd(gate.get()));
}

// A child that is forked meanwhile does not keep stdin open. (Not checked for
// leaks, as the first process opens what all share.)
TEST(CommunicateForkTest, AForkedProcessDoesNotKeepThePipes) {
  Subprocess cat = Start({"cat"});
  Gate gate;
  Marker ready = *Marker::Create();
  Process process({.context = StartMethod::kFork}, SayAndWait,
                  *ready.writer().Dup(), *Fd::DupOf(gate.fd()));
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(ready.Await(), IsOk());
  const auto output = cat.Communicate("text", kLong);
  EXPECT_THAT(output, IsOk());
  // It would read for ever, as it has a copy of the gate's other end.
  EXPECT_THAT(process.Kill(), IsOk());
  EXPECT_THAT(process.Join(kLong), IsOk());
}

}  // namespace
}  // namespace mp
