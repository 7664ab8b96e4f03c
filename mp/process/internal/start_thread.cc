#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/monotonic.h"
#include "mp/process/internal/runner.h"
#include "mp/process/internal/start.h"
#include "mp/process/parcel.h"
#include "mp/process/process_report.h"

namespace mp::internal {
namespace {

// What the thread and the Child share.
struct ThreadState {
  explicit ThreadState(Identity identity, Fd event)
      : name(identity.name),
        identity(std::move(identity)),
        event(std::move(event)) {}

  void Finish(int code) {
    rusage usage = {};
    getrusage(RUSAGE_THREAD, &usage);
    ForkSafeLock lock(mutex);
    report.exit_code = code;
    report.usage = ToResourceUsage(usage);
    report.wall_time = MonotonicNow() - started_at;
    const uint64_t one = 1;
    // An eventfd that nobody else writes to takes a 1.
    RetryOnEintr([&] { return write(event.get(), &one, sizeof(one)); });
  }

  const std::string name;  // which the thread itself may change
  Identity identity;
  const Fd event;
  ForkSafeMutex mutex;
  const absl::Duration started_at = MonotonicNow();
  ProcessReport report ABSL_GUARDED_BY(mutex);
};

class ThreadChild final : public Child {
 public:
  ThreadChild(std::shared_ptr<ThreadState> state, std::thread thread)
      : state_(std::move(state)), thread_(std::move(thread)) {}
  ~ThreadChild() override {
    ForkSafeLock lock(mutex_);
    if (thread_.joinable()) thread_.detach();
  }

  pid_t pid() const override { return getpid(); }
  int sentinel() const override { return state_->event.get(); }

  absl::Status Wait(const Deadline& deadline) override {
    MP_ASSIGN_OR_RETURN(const bool ended,
                        WaitForFd(sentinel(), POLLIN, deadline));
    if (!ended) {
      return absl::DeadlineExceededError(
          absl::StrCat("thread ", state_->name, " still runs"));
    }
    ForkSafeLock lock(mutex_);
    // All that is left of it is to return from its last function.
    if (thread_.joinable()) thread_.join();
    return absl::OkStatus();
  }

  std::optional<int> exit_code() const override {
    ForkSafeLock lock(state_->mutex);
    return state_->report.exit_code;
  }

  ProcessReport Report() const override {
    ForkSafeLock lock(state_->mutex);
    ProcessReport report = state_->report;
    report.pid = getpid();
    return report;
  }

  absl::Status Signal(int) override {
    if (exit_code().has_value()) return absl::OkStatus();
    return absl::UnimplementedError(
        "a thread cannot be ended from outside; use another start method");
  }

 private:
  const std::shared_ptr<ThreadState> state_;
  ForkSafeMutex mutex_;
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

StartResult StartThread(StartRequest request) {
  Parcel parcel;
  if (!request.share_arguments) {
    MP_ASSIGN_OR_RETURN(parcel, EncodeCall(*request.call));
  }
  Fd event(eventfd(0, EFD_CLOEXEC));
  if (!event.is_open()) return ErrnoStatus(errno, "eventfd");
  const auto state =
      std::make_shared<ThreadState>(request.identity, std::move(event));
  // Shared, not moved, so that a thread that does not start leaves it behind.
  const auto shared_call = std::make_shared<std::unique_ptr<Call>>(nullptr);
  const auto shared_parcel = std::make_shared<Parcel>(std::move(parcel));
  const bool share = request.share_arguments;
  if (share) *shared_call = std::move(request.call);
  try {
    std::thread thread([state, shared_call, shared_parcel, share] {
      BecomeThread(&state->identity);
      const int code =
          share ? RunCall(**shared_call) : RunParcel(std::move(*shared_parcel));
      shared_call->reset();
      state->Finish(code);
    });
    return std::make_shared<ThreadChild>(state, std::move(thread));
  } catch (const std::system_error& error) {
    if (share) request.call = std::move(*shared_call);
    return absl::ResourceExhaustedError(
        absl::StrCat("std::thread: ", error.what()));
  }
}

}  // namespace mp::internal
