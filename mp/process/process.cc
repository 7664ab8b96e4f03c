#include "mp/process/process.h"

#include <signal.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/process/auth_key.h"
#include "mp/process/context.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/children.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/monotonic.h"
#include "mp/process/internal/oom.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/process_exit.h"
#include "mp/process/internal/process_state.h"
#include "mp/process/internal/resolve_surroundings.h"
#include "mp/process/internal/self_child.h"
#include "mp/process/internal/start.h"
#include "mp/process/process_report.h"
#include "mp/process/surroundings.h"

namespace mp {
namespace {

using internal::ProcessState;

absl::Status Error(absl::string_view operation, const ProcessState* state,
                   absl::string_view problem) {
  return absl::FailedPreconditionError(
      absl::StrCat("Process::", operation, "(\"",
                   state == nullptr ? "" : state->name, "\"): ", problem));
}

// What every operation on a process asks for first.
absl::Status CheckUsable(absl::string_view operation,
                         const ProcessState* state) {
  if (state == nullptr)
    return Error(operation, state, "it has been moved from");
  if (state->closed) return Error(operation, state, "it is closed");
  if (state->owner != getpid()) {
    return Error(operation, state,
                 absl::StrCat("it belongs to process ", state->owner));
  }
  return absl::OkStatus();
}

absl::Status CheckStarted(absl::string_view operation,
                          const ProcessState* state) {
  MP_RETURN_IF_ERROR(CheckUsable(operation, state));
  if (state->child == nullptr) return Error(operation, state, "not started");
  return absl::OkStatus();
}

absl::Status CheckNotStarted(absl::string_view operation,
                             const ProcessState* state) {
  MP_RETURN_IF_ERROR(CheckUsable(operation, state));
  if (state->child == nullptr) return absl::OkStatus();
  return Error(operation, state, "it has been started");
}

internal::StartResult StartBy(StartMethod method,
                              internal::StartRequest request) {
  switch (method) {
    case StartMethod::kForkServer:
      return internal::StartForkServer(std::move(request));
    case StartMethod::kFork:
      return internal::StartFork(std::move(request));
    case StartMethod::kSpawn:
      return internal::StartSpawn(std::move(request));
    case StartMethod::kThread:
      return internal::StartThread(std::move(request));
  }
  return absl::InvalidArgumentError("there is no such start method");
}

// Starts it with a page where it writes down its own end.
internal::StartResult StartReporting(StartMethod method,
                                     internal::StartRequest request) {
  internal::CrashSlotLease slot;
  if (method != StartMethod::kThread) {
    MP_ASSIGN_OR_RETURN(slot, internal::CrashArena::Get().Take());
    MP_ASSIGN_OR_RETURN(request.crash_slot, slot.MakeTicket());
    internal::OomWatch::Get().BeforeStart();
  }
  const absl::Duration started_at = internal::MonotonicNow();
  internal::StartResult child = StartBy(method, std::move(request));
  if (!child.ok()) return child;
  slot.LetBegin((*child)->pid());
  (*child)->Keep(std::move(slot), started_at);
  return child;
}

absl::Status Wait(internal::Child& child, absl::Duration timeout) {
  MP_RETURN_IF_ERROR(child.Wait(Deadline(timeout)));
  internal::Children::Get().Remove(child);
  return absl::OkStatus();
}

absl::Status CheckSurroundings(const Surroundings& surroundings,
                               StartMethod method) {
  if (method != StartMethod::kThread || surroundings == Surroundings()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "a thread has the surroundings of its process; leave "
      "ProcessOptions::surroundings as they are, or use another start method");
}

internal::StartResult StartNow(ProcessState& state, StartMethod method) {
  MP_RETURN_IF_ERROR(CheckSurroundings(state.surroundings, method));
  MP_ASSIGN_OR_RETURN(internal::ResolvedSurroundings surroundings,
                      internal::Resolve(state.surroundings));
  MP_ASSIGN_OR_RETURN(
      internal::ParentLink parent,
      internal::LinkToThisProcess(/*with_life_line=*/state.daemon));
  return StartReporting(method, {{.name = state.name,
                                  .path = state.path,
                                  .daemon = state.daemon,
                                  .started_by = method,
                                  .authkey = state.authkey},
                                 std::move(parent),
                                 std::move(surroundings),
                                 state.share_arguments,
                                 state.call});
}

// "0", "17" or "-SIGTERM".
std::string DescribeExitCode(int code) {
  const char* const name = code < 0 ? sigabbrev_np(-code) : nullptr;
  return name == nullptr ? absl::StrCat(code) : absl::StrCat("-SIG", name);
}

bool HasEnded(internal::Child& child) {
  return Wait(child, absl::ZeroDuration()).ok();
}

}  // namespace

Process::Process(Options options, std::unique_ptr<internal::Call> call,
                 std::string kind)
    : state_(std::make_unique<ProcessState>()) {
  internal::Identity creator = internal::CurrentIdentity();
  state_->owner = getpid();
  state_->path = internal::NextChildPath();
  state_->name = options.name.empty() ? absl::StrCat(kind, "-", state_->path)
                                      : std::move(options.name);
  state_->daemon = options.daemon.value_or(creator.daemon);
  state_->authkey = *std::move(creator.authkey);
  state_->share_arguments = options.share_arguments;
  state_->context = options.context;
  state_->surroundings = std::move(options.surroundings);
  state_->call = std::move(call);
}

Process Process::Self() {
  internal::Identity me = internal::CurrentIdentity();
  Process self;
  self.state_ = std::make_unique<ProcessState>();
  ProcessState& state = *self.state_;
  state.owner = getpid();
  state.name = std::move(me.name);
  state.path = std::move(me.path);
  state.daemon = me.daemon;
  state.authkey = *std::move(me.authkey);
  state.child = internal::MakeSelfChild();
  state.started_by = me.started_by.value_or(StartMethod::kForkServer);
  return self;
}

Process::Options Process::ForkOptions() {
  Options options;
  options.context = StartMethod::kFork;
  return options;
}

Process::Process(Process&&) noexcept = default;
Process& Process::operator=(Process&&) noexcept = default;
// The child, if it runs, is known to internal::Children.
Process::~Process() = default;

absl::Status Process::Start() {
  MP_RETURN_IF_ERROR(CheckUsable("Start", state_.get()));
  if (state_->child != nullptr) {
    return Error("Start", state_.get(), "it has been started before");
  }
  const StartMethod method = state_->context.start_method();
  // A thread cannot be left behind.
  if (method != StartMethod::kThread && internal::CurrentProcessIsDaemon()) {
    return Error("Start", state_.get(),
                 "the caller is a daemon, which may not have children");
  }
  internal::WatchExitAndForks();
  internal::Children::Get().ReapEnded();
  internal::StartResult child = StartNow(*state_, method);
  if (!child.ok()) {
    return absl::Status(child.status().code(),
                        absl::StrCat("Process::Start(\"", state_->name,
                                     "\"): ", child.status().message()));
  }
  internal::Children::Get().Add({*child, state_->name, state_->daemon, method});
  state_->child = *std::move(child);
  state_->started_by = method;
  state_->call.reset();
  return absl::OkStatus();
}

absl::Status Process::Join(absl::Duration timeout) {
  MP_RETURN_IF_ERROR(CheckStarted("Join", state_.get()));
  const absl::Status ended = Wait(*state_->child, timeout);
  if (!absl::IsDeadlineExceeded(ended)) return ended;
  return absl::DeadlineExceededError(
      absl::StrCat("Process::Join(\"", state_->name, "\", ",
                   absl::FormatDuration(timeout), "): ", ended.message()));
}

bool Process::IsAlive() {
  return CheckStarted("IsAlive", state_.get()).ok() &&
         !HasEnded(*state_->child);
}

absl::Status Process::Signal(absl::string_view operation, int signal) {
  MP_RETURN_IF_ERROR(CheckStarted(operation, state_.get()));
  return state_->child->Signal(signal);
}
absl::Status Process::Terminate() { return Signal("Terminate", SIGTERM); }
absl::Status Process::Kill() { return Signal("Kill", SIGKILL); }
absl::Status Process::Interrupt() { return Signal("Interrupt", SIGINT); }

absl::Status Process::Close() {
  if (state_ != nullptr && state_->closed) return absl::OkStatus();
  MP_RETURN_IF_ERROR(CheckUsable("Close", state_.get()));
  if (IsAlive()) {
    return Error("Close", state_.get(), "it still runs; call Join() first");
  }
  state_->child.reset();
  state_->call.reset();
  state_->closed = true;
  return absl::OkStatus();
}

std::string Process::name() const {
  return state_ == nullptr ? "" : state_->name;
}
void Process::set_name(std::string name) {
  if (state_ != nullptr) state_->name = std::move(name);
}

bool Process::daemon() const { return state_ != nullptr && state_->daemon; }
absl::Status Process::set_daemon(bool daemon) {
  MP_RETURN_IF_ERROR(CheckNotStarted("set_daemon", state_.get()));
  state_->daemon = daemon;
  return absl::OkStatus();
}

AuthKey Process::authkey() const {
  return state_ == nullptr ? AuthKey() : state_->authkey;
}
absl::Status Process::set_authkey(AuthKey key) {
  MP_RETURN_IF_ERROR(CheckNotStarted("set_authkey", state_.get()));
  state_->authkey = std::move(key);
  return absl::OkStatus();
}

StartMethod Process::start_method() const {
  if (state_ == nullptr) return Context().start_method();
  return state_->child != nullptr ? state_->started_by
                                  : state_->context.start_method();
}

std::optional<pid_t> Process::pid() const {
  if (state_ == nullptr || state_->child == nullptr) return std::nullopt;
  return state_->child->pid();
}

std::optional<int> Process::exitcode() {
  if (!CheckStarted("exitcode", state_.get()).ok()) return std::nullopt;
  if (!HasEnded(*state_->child)) return std::nullopt;
  return state_->child->exit_code();
}

absl::StatusOr<ProcessReport> Process::Report() {
  MP_RETURN_IF_ERROR(CheckStarted("Report", state_.get()));
  if (!HasEnded(*state_->child)) {
    return Error("Report", state_.get(), "it still runs; call Join() first");
  }
  ProcessReport report = state_->child->Report();
  report.name = state_->name;
  report.start_method = state_->started_by;
  return report;
}

absl::StatusOr<int> Process::sentinel() const {
  MP_RETURN_IF_ERROR(CheckStarted("sentinel", state_.get()));
  return state_->child->sentinel();
}

std::string Process::ToString() {
  if (state_ == nullptr) return "<Process moved>";
  std::string text = absl::StrCat("<Process name='", state_->name, "'");
  if (state_->child != nullptr) {
    absl::StrAppend(&text, " pid=", state_->child->pid());
  }
  absl::StrAppend(&text, " parent=", state_->owner, " ", DescribeState());
  return absl::StrCat(text, state_->daemon ? " daemon>" : ">");
}

std::string Process::DescribeState() {
  if (state_->closed) return "closed";
  if (state_->owner != getpid()) return "unknown";
  if (state_->child == nullptr) return "initial";
  if (IsAlive()) return "started";
  const std::optional<int> code = exitcode();
  if (!code.has_value()) return "stopped";
  return absl::StrCat("stopped exitcode=", DescribeExitCode(*code));
}

}  // namespace mp
