#include "mp/process/subprocess.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/children.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/exchange.h"
#include "mp/process/internal/guarded_exchange.h"
#include "mp/process/internal/monotonic.h"
#include "mp/process/internal/oom.h"
#include "mp/process/internal/process_exit.h"
#include "mp/process/internal/process_tree.h"
#include "mp/process/internal/resolve_surroundings.h"
#include "mp/process/internal/spawn_program.h"
#include "mp/process/internal/stdio_pipe.h"
#include "mp/process/process_report.h"
#include "mp/process/stdio.h"
#include "mp/process/surroundings.h"

namespace mp {
namespace {

using internal::SpawnedProgram;

// The places of Exchange::outputs.
constexpr int kOut = 0;
constexpr int kErr = 1;

absl::Status InContext(absl::string_view operation, absl::string_view program,
                       const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat("Subprocess::", operation, "(\"", program,
                                   "\"): ", status.message()));
}

// Gives the program one end of a pipe, if that is what `stdio` says, and
// returns the other.
absl::StatusOr<Fd> MakePipeFor(std::optional<Stdio>& stdio,
                               bool program_reads) {
  if (!stdio.has_value() || stdio->kind() != Stdio::Kind::kPipe) return Fd();
  MP_ASSIGN_OR_RETURN(internal::StdioPipe pipe, internal::CreateStdioPipe());
  stdio = Stdio::FromFd(std::move(program_reads ? pipe.reader : pipe.writer));
  return std::move(program_reads ? pipe.writer : pipe.reader);
}

absl::Status MakePipes(Surroundings& surroundings,
                       internal::Exchange& exchange) {
  exchange.outputs.resize(2);
  MP_ASSIGN_OR_RETURN(exchange.input.pipe,
                      MakePipeFor(surroundings.stdin_from, true));
  exchange.takes_input = exchange.input.pipe.is_open();
  MP_ASSIGN_OR_RETURN(exchange.outputs[kOut].end.pipe,
                      MakePipeFor(surroundings.stdout_to, false));
  MP_ASSIGN_OR_RETURN(exchange.outputs[kErr].end.pipe,
                      MakePipeFor(surroundings.stderr_to, false));
  return absl::OkStatus();
}

// The kernel ends a program with the thread that started it, which therefore
// lives as long as the program does.
void SpawnAndStay(internal::ProgramRequest request,
                  std::promise<absl::StatusOr<SpawnedProgram>> result) {
  absl::StatusOr<SpawnedProgram> program = SpawnProgram(std::move(request));
  if (!program.ok()) return result.set_value(std::move(program));
  absl::StatusOr<Fd> pidfd = program->pidfd.Dup();
  if (!pidfd.ok()) {
    internal::AbandonChild(program->pid);
    return result.set_value(pidfd.status());
  }
  result.set_value(std::move(program));
  WaitForFd(pidfd->get(), POLLIN, Deadline(absl::InfiniteDuration()))
      .status()
      .IgnoreError();
}

absl::StatusOr<SpawnedProgram> SpawnByThread(internal::ProgramRequest request) {
  request.end_with_thread = true;
  std::promise<absl::StatusOr<SpawnedProgram>> promise;
  std::future<absl::StatusOr<SpawnedProgram>> result = promise.get_future();
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // No handler of the program's is to run there.
  pthread_sigmask(SIG_SETMASK, &all, &before);
  absl::Status status;
  try {
    std::thread(SpawnAndStay, std::move(request), std::move(promise)).detach();
  } catch (const std::system_error& error) {
    status = absl::ResourceExhaustedError(
        absl::StrCat("end_with_parent: no thread: ", error.what()));
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!status.ok()) return status;
  return result.get();
}

absl::StatusOr<SpawnedProgram> Spawn(const std::vector<std::string>& args,
                                     const SubprocessOptions& options) {
  internal::ProgramRequest request;
  request.executable =
      options.executable.empty() ? args[0] : options.executable;
  request.arguments = args;
  MP_ASSIGN_OR_RETURN(request.surroundings,
                      internal::Resolve(options.surroundings));
  request.pass_fds = options.pass_fds;
  request.process_group = options.process_group;
  request.new_session = options.new_session;
  request.restore_signals = options.restore_signals;
  return options.end_with_parent ? SpawnByThread(std::move(request))
                                 : SpawnProgram(std::move(request));
}

}  // namespace

struct Subprocess::State {
  const pid_t owner = getpid();
  std::string name;
  bool owns_group;
  bool owns_session;
  std::shared_ptr<internal::ProcessChild> child;
  internal::GuardedExchange pipes;
};

absl::StatusOr<Subprocess> Subprocess::Popen(std::vector<std::string> args,
                                             Options options) {
  if (args.empty()) {
    return absl::InvalidArgumentError(
        "Subprocess::Popen: there are no arguments, not even the program");
  }
  MP_RETURN_IF_ERROR(
      InContext("Popen", args[0], internal::CheckPassFds(options.pass_fds)));
  internal::WatchExitAndForks();
  internal::Children::Get().ReapEnded();
  auto state = std::make_unique<State>();
  state->name = args[0];
  state->owns_group = options.process_group || options.new_session;
  state->owns_session = options.new_session;
  MP_RETURN_IF_ERROR(
      InContext("Popen", args[0],
                MakePipes(options.surroundings, state->pipes.exchange())));
  internal::OomWatch::Get().BeforeStart();
  const absl::Duration started_at = internal::MonotonicNow();
  absl::StatusOr<SpawnedProgram> program = Spawn(args, options);
  if (!program.ok()) return InContext("Popen", args[0], program.status());

  state->child = std::make_shared<internal::ProcessChild>(
      program->pid, std::move(program->pidfd));
  // A program has no page to write down its end.
  state->child->Keep(internal::CrashSlotLease(), started_at);
  internal::Children::Get().Add(
      {state->child, state->name, options.end_with_parent, std::nullopt});
  internal::Exchange& exchange = state->pipes.exchange();
  exchange.input.program = state->child->sentinel();
  for (internal::Exchange::Output& output : exchange.outputs) {
    output.end.program = state->child->sentinel();
  }
  exchange.max_output_bytes = options.max_output_bytes;
  exchange.until_closed = options.until_closed;
  return Subprocess(std::move(state));
}

Subprocess::Subprocess(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
Subprocess::Subprocess(Subprocess&&) noexcept = default;
Subprocess& Subprocess::operator=(Subprocess&&) noexcept = default;
// The program, if it runs, is known to internal::Children.
Subprocess::~Subprocess() = default;

absl::Status Subprocess::CheckUsable(absl::string_view operation) const {
  if (state_ == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("Subprocess::", operation, ": it has been moved from"));
  }
  if (state_->owner == getpid()) return absl::OkStatus();
  return InContext(operation, state_->name,
                   absl::FailedPreconditionError(
                       absl::StrCat("it belongs to process ", state_->owner)));
}

absl::StatusOr<SubprocessOutput> Subprocess::Communicate(
    std::string input, absl::Duration timeout) {
  MP_RETURN_IF_ERROR(CheckUsable("Communicate"));
  const Deadline deadline(timeout);
  MP_RETURN_IF_ERROR(InContext("Communicate", state_->name,
                               state_->pipes.Run(std::move(input), deadline)));
  MP_RETURN_IF_ERROR(Wait(deadline.Remaining()));
  internal::Exchange& exchange = state_->pipes.exchange();
  return SubprocessOutput{std::move(exchange.outputs[kOut].text),
                          std::move(exchange.outputs[kErr].text)};
}

absl::Status Subprocess::Wait(absl::Duration timeout) {
  MP_RETURN_IF_ERROR(CheckUsable("Wait"));
  MP_RETURN_IF_ERROR(
      InContext("Wait", state_->name, state_->child->Wait(Deadline(timeout))));
  internal::Children::Get().Remove(*state_->child);
  return absl::OkStatus();
}

std::optional<int> Subprocess::Poll() {
  Wait(absl::ZeroDuration()).IgnoreError();
  return returncode();
}

std::optional<int> Subprocess::returncode() const {
  if (!CheckUsable("returncode").ok()) return std::nullopt;
  return state_->child->exit_code();
}

absl::Status Subprocess::SendSignal(int signal) {
  MP_RETURN_IF_ERROR(CheckUsable("SendSignal"));
  return InContext("SendSignal", state_->name, state_->child->Signal(signal));
}
absl::Status Subprocess::Terminate() { return SendSignal(SIGTERM); }
absl::Status Subprocess::Kill() { return SendSignal(SIGKILL); }

absl::Status Subprocess::KillTree() {
  MP_RETURN_IF_ERROR(CheckUsable("KillTree"));
  MP_ASSIGN_OR_RETURN(Fd pidfd, Fd::DupOf(sentinel()));
  return InContext(
      "KillTree", state_->name,
      internal::KillTree(
          {pid(), std::move(pidfd), state_->owns_group, state_->owns_session}));
}

absl::StatusOr<ProcessReport> Subprocess::Report() {
  MP_RETURN_IF_ERROR(Wait(absl::ZeroDuration()));
  ProcessReport report = state_->child->Report();
  report.name = state_->name;
  report.start_method = StartMethod::kSpawn;
  return report;
}

// What one that has been moved from has.
static Fd& NoPipe() {
  static thread_local Fd none;
  none.Close();
  return none;
}

pid_t Subprocess::pid() const {
  return state_ == nullptr ? -1 : state_->child->pid();
}
int Subprocess::sentinel() const {
  return state_ == nullptr ? -1 : state_->child->sentinel();
}

Fd& Subprocess::stdin_pipe() {
  if (state_ == nullptr) return NoPipe();
  return state_->pipes.exchange().input.pipe;
}
Fd& Subprocess::stdout_pipe() {
  if (state_ == nullptr) return NoPipe();
  return state_->pipes.exchange().outputs[kOut].end.pipe;
}
Fd& Subprocess::stderr_pipe() {
  if (state_ == nullptr) return NoPipe();
  return state_->pipes.exchange().outputs[kErr].end.pipe;
}

}  // namespace mp
