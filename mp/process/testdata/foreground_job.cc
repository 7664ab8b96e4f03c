// A program for signal_test, in the foreground of a terminal.
//
// usage: foreground_job START_METHOD JOB, one of those in main()
//
// What is to be seen it says on stderr. Each process says "ready", a parent
// when it has started all its children.

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/current_process.h"
#include "mp/process/init.h"
#include "mp/process/internal/end_by_signal.h"
#include "mp/process/process.h"

namespace {

constexpr int kSignals[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1};

// Much longer than a test may take.
constexpr absl::Duration kNever = absl::Hours(1);

volatile sig_atomic_t counts[32];

void Count(int signal) { counts[signal] = counts[signal] + 1; }

// One write, so that lines of several processes do not mix.
void Say(absl::string_view line) {
  const std::string text = absl::StrCat(line, "\n");
  if (write(STDERR_FILENO, text.data(), text.size()) < 0) _exit(99);
}

void Sleep(absl::Duration duration) {
  timespec left = absl::ToTimespec(duration);
  while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

void Idle() {
  Say("ready");
  while (true) pause();
}

// Has the signals counted, save those that are ignored.
void CountSignals() {
  for (const int number : kSignals) {
    if (signal(number, Count) == SIG_IGN) signal(number, SIG_IGN);
  }
}

// Says "NAME: SIGINT*1", and the like of other signals.
void SayCounts(const std::string& name) {
  std::string line = absl::StrCat(name, ":");
  for (const int number : kSignals) {
    if (counts[number] == 0) continue;
    absl::StrAppend(&line, " SIG", sigabbrev_np(number), "*", counts[number]);
  }
  Say(line);
}

void SetMask(int (*fill)(sigset_t*)) {
  sigset_t mask;
  fill(&mask);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

// Between calls, all signals are blocked.
void AwaitSignal() {
  sigset_t none;
  sigemptyset(&none);
  sigsuspend(&none);
}

// Waits for a signal, and for more of them that do not belong, and says which.
void Listen(const std::string& name) {
  SetMask(sigfillset);
  CountSignals();
  Say("ready");
  AwaitSignal();
  SetMask(sigemptyset);
  Sleep(absl::Milliseconds(300));
  SayCounts(name);
}

// Does not hear SIGINT.
void ListenToOthers(const std::string& name) {
  signal(SIGINT, SIG_IGN);
  Listen(name);
}

// Says each signal, and stays.
void Stubborn() {
  SetMask(sigfillset);
  CountSignals();
  Say("ready");
  while (true) {
    AwaitSignal();
    SayCounts("stubborn");
  }
}

template <typename... Call>
mp::Process Start(mp::ProcessOptions options, Call... call) {
  mp::Process process(std::move(options), call...);
  MP_CHECK_OK(process.Start());
  return process;
}

void StartAndJoin(mp::StartMethod method, void (*function)(const std::string&),
                  int count) {
  std::vector<mp::Process> processes;
  for (int i = 0; i < count; ++i) {
    processes.push_back(
        Start({.context = method}, function, std::string("child")));
  }
  Say("ready");
  for (mp::Process& process : processes) MP_CHECK_OK(process.Join());
}

void RunIdle(mp::StartMethod method) {
  mp::Process daemon = Start({.context = method, .daemon = true}, Idle);
  mp::Process child = Start({.context = method}, Idle);
  Say("ready");
  MP_CHECK_OK(child.Join());
}

template <typename... Call>
void RunDaemon(mp::StartMethod method, Call... call) {
  mp::Process daemon = Start({.context = method, .daemon = true}, call...);
  Say("ready");
  MP_CHECK_OK(daemon.Join());
}

void RunNested(mp::StartMethod method) {
  mp::Process parent = Start(
      {.context = method},
      [](mp::StartMethod inner) { StartAndJoin(inner, Listen, 2); }, method);
  Say("ready");
  MP_CHECK_OK(parent.Join());
}

// Terminates a child that has a daemon.
void TerminateParent(mp::StartMethod method) {
  mp::Process parent = Start(
      {.context = method},
      [](mp::StartMethod inner) {
        RunDaemon(inner, Listen, std::string("daemon"));
      },
      method);
  char key;  // when there is the daemon
  if (read(STDIN_FILENO, &key, 1) != 1) _exit(98);
  MP_CHECK_OK(parent.Terminate());
  MP_CHECK_OK(parent.Join());
  Say(absl::StrCat("exit code ", parent.exitcode().value_or(99)));
}

// Outlives its parent.
void Survive() {
  Say("ready");
  MP_CHECK_OK(mp::ParentProcess::Get()->Join());
  Say("the parent is gone");
}

void RunSurvivor(mp::StartMethod method) {
  mp::Process child = Start({.context = method}, Survive);
  mp::Process daemon =
      Start({.context = method, .daemon = true}, Listen, std::string("daemon"));
  Say("ready");
  MP_CHECK_OK(child.Join());
}

// A program that handles SIGINT itself, from before or after the first start.
void RunOwnHandler(mp::StartMethod method, bool before) {
  if (before) signal(SIGINT, Count);
  mp::Process child = Start({.context = method}, [] {
    signal(SIGINT, SIG_DFL);  // by fork it would have the parent's
    Idle();
  });
  if (!before) signal(SIGINT, Count);
  Say("parent");
  MP_CHECK_OK(child.Join());
  while (counts[SIGINT] == 0) Sleep(absl::Milliseconds(1));
  Say(absl::StrCat("goes on after ", child.exitcode().value_or(99)));
  _exit(7);
}

// Says which of the signals have their default action after a start.
void SayDefaults(mp::StartMethod method) {
  MP_CHECK_OK(Start({.context = method}, [] {}).Join());
  for (const int number : kSignals) {
    struct sigaction action;
    sigaction(number, nullptr, &action);
    if (action.sa_handler == SIG_DFL) Say(sigabbrev_np(number));
  }
}

// Starts ever more processes.
void StartForEver(mp::StartMethod method) {
  std::vector<mp::Process> processes;
  while (true) {
    processes.push_back(Start({.context = method}, [] {
      while (true) pause();
    }));
  }
}

// Starts processes, and each time sends a signal to the whole job.
void RunStarts(mp::StartMethod method) {
  signal(SIGTERM, Count);
  signal(SIGHUP, Count);
  signal(SIGINT, Count);
  for (int i = 0; i < 30; ++i) {
    const pid_t sender = fork();
    if (sender == 0) {
      Sleep(absl::Microseconds(200) * (i % 10));
      kill(0, kSignals[i % 3]);
      _exit(0);
    }
    mp::Process process({.context = method}, [] {});
    MP_CHECK_OK(process.Start());
    MP_CHECK_OK(process.Join());
    while (waitpid(sender, nullptr, 0) != sender) continue;
  }
  Say("started all");
}

// So that nothing but what is tested ends a wait, however slow the machine is.
void SetPatience(absl::string_view job) {
  mp::internal::EndPatience patience;
  patience.after_terminal = kNever;
  patience.in_all = kNever;
  if (job == "children" || job == "daemon") patience.after_sender = kNever;
  // Those who are left are told at once, if at all.
  if (job == "idle" || job == "children" || job == "deaf_daemon" ||
      job == "stubborn" || job == "killed") {
    patience.after_terminal = absl::ZeroDuration();
  }
  if (job == "killed") patience.in_all = absl::Milliseconds(300);
  mp::internal::SetEndPatience(patience);
}

}  // namespace

int main(int argc, char** argv) {
  const absl::string_view job = argc == 3 ? argv[2] : "";
  SetPatience(job);
  mp::Init(argc, argv, {.handle_signals = job != "left_alone"});
  const absl::StatusOr<mp::Context> context = mp::GetContext(argv[1]);
  MP_CHECK_OK(context);
  const mp::StartMethod method = context->start_method();
  if (job == "idle") RunIdle(method);
  if (job == "children") StartAndJoin(method, Listen, 3);
  if (job == "forgotten") {
    Start({.context = method}, Listen, std::string("child"));
    Say("ready");
  }
  if (job == "daemon") RunDaemon(method, Listen, std::string("daemon"));
  if (job == "deaf_daemon") {
    RunDaemon(method, ListenToOthers, std::string("daemon"));
  }
  if (job == "stubborn" || job == "killed") RunDaemon(method, Stubborn);
  if (job == "nested") RunNested(method);
  if (job == "terminate") TerminateParent(method);
  if (job == "survivor") RunSurvivor(method);
  if (job == "own_before" || job == "own_after") {
    RunOwnHandler(method, job == "own_before");
  }
  if (job == "handled" || job == "left_alone") SayDefaults(method);
  if (job == "starts") RunStarts(method);
  if (job == "start_for_ever") StartForEver(method);
}
