#ifndef MP_POOL_FUTURE_H_
#define MP_POOL_FUTURE_H_

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/pool/internal/future_state.h"

namespace mp {

// The result of a task that may not have ended yet: CPython's AsyncResult, and
// the Future of its executors.
//
// Example:
//   mp::Future<int> length = pool.ApplyAsync(Length, "hello");
//   MP_ASSIGN_OR_RETURN(int value, length.Get(absl::Seconds(10)));
//
// Shape:   a T; or nothing but a status, as Future<void>.
// Owns:    a share of the result, which goes with the last copy.
// Threads: safe from any. Callbacks run in the thread that ends the task, for a
//          Pool a thread of its own, before any Get() or Wait() of a callback's
//          own thread goes on; one that takes long holds up others.
// Fork:    belongs to the process that made it, and does not travel.
// Death:   a task whose process is lost ends with kUnavailable, and says how.
// Source:  CPython multiprocessing.pool.AsyncResult,
//          concurrent.futures.Future. Differs: errors are statuses; one that
//          runs can be cancelled; a callback that throws costs nobody anything.
//          result() is Get() here, exception() is Error(), and
//          add_done_callback() is OnDone(); the callback and error_callback of
//          apply_async() are OnSuccess() and OnError().
template <typename T>
class Future {
 public:
  // absl::StatusOr<T>, or absl::Status if there is no value.
  using Result = std::conditional_t<
      std::is_void_v<T>, absl::Status,
      absl::StatusOr<std::conditional_t<std::is_void_v<T>, int, T>>>;

  // Of no task.
  Future() = default;
  explicit Future(std::shared_ptr<internal::FutureState<T>> state)
      : state_(std::move(state)) {}

  bool valid() const { return state_ != nullptr; }

  // Waits for the result, and returns a copy of it. May be called again.
  //
  // Errors:
  //   kDeadlineExceeded    the task has not ended. (A task of a time limit that
  //                        was too long for it ends with that code too: see
  //                        done().)
  //   kFailedPrecondition  no task, or Take() was called.
  //   those of the task
  // Source: CPython AsyncResult.get(), Future.result().
  Result Get(absl::Duration timeout = absl::InfiniteDuration()) const {
    if (absl::Status ready = Await("Get", timeout); !ready.ok()) return ready;
    return state_->Get();
  }

  // The same, and moves the result out: for one that is large, or cannot be
  // copied. Errors: those of Get().
  Result Take(absl::Duration timeout = absl::InfiniteDuration()) const {
    if (absl::Status ready = Await("Take", timeout); !ready.ok()) return ready;
    if constexpr (std::is_void_v<T>) {
      return state_->Get();
    } else {
      return state_->Take();
    }
  }

  // Waits for the end, and returns its status: of a task that ended well, OK.
  // Leaves the result alone. Errors: those of Get().
  //
  // Source: CPython Future.exception().
  absl::Status Error(absl::Duration timeout = absl::InfiniteDuration()) const {
    if (absl::Status ready = Await("Error", timeout); !ready.ok()) return ready;
    return state_->status();
  }

  // Waits until the task has ended. Returns whether it has.
  bool Wait(absl::Duration timeout = absl::InfiniteDuration()) const {
    return valid() && state_->Wait(timeout);
  }

  // Whether the task has ended. AsyncResult calls it ready().
  bool done() const { return valid() && state_->done(); }
  bool ready() const { return done(); }
  // Whether a worker is at it; of many items, at one of them.
  bool running() const { return valid() && state_->running(); }
  // Whether it has ended because of Cancel().
  bool cancelled() const {
    return done() && absl::IsCancelled(state_->status());
  }

  // Whether it has ended well.
  //
  // Errors:
  //   kFailedPrecondition  no task, or it has not ended.
  absl::StatusOr<bool> successful() const {
    if (!done()) {
      return absl::FailedPreconditionError(
          "Future::successful: the task has not ended");
    }
    return state_->status().ok();
  }

  // Asks for the task to be given up. One that waits does not run, and one that
  // runs is warned and, if it does not heed that, killed with its worker. It
  // ends with kCancelled, or as it would have, whichever comes first. Does not
  // wait; does nothing to one that has ended.
  //
  // Source: CPython Future.cancel(), which leaves those alone that run.
  void Cancel() const {
    if (valid()) state_->Cancel();
  }

  // Calls `callback` with this future when the task has ended; now, if it has.
  // What it throws is printed.
  //
  // Source: CPython Future.add_done_callback().
  void OnDone(std::function<void(const Future&)> callback) const {
    if (!valid()) return;
    state_->OnDone(
        [callback = std::move(callback), state = std::weak_ptr(state_)] {
          // The one who ends it holds it.
          if (auto held = state.lock()) callback(Future(std::move(held)));
        });
  }

  // The same for a task that ends well, with what Get() returns (nothing, of a
  // Future<void>); and for one that does not, with its status.
  //
  // Source: CPython Pool.apply_async(callback, error_callback).
  template <typename Callback>
  void OnSuccess(Callback callback) const {
    OnDone([callback = std::move(callback)](const Future& done) {
      if (!done.state_->status().ok()) return;
      if constexpr (std::is_void_v<T>) {
        callback();
      } else if (const auto result = done.state_->Get(); result.ok()) {
        callback(*result);
      }
    });
  }
  void OnError(std::function<void(const absl::Status&)> callback) const {
    OnDone([callback = std::move(callback)](const Future& done) {
      const absl::Status status = done.state_->status();
      if (!status.ok()) callback(status);
    });
  }

  // For the functions of wait_futures.h.
  const std::shared_ptr<internal::FutureState<T>>& state() const {
    return state_;
  }

 private:
  absl::Status Await(absl::string_view operation,
                     absl::Duration timeout) const {
    if (!valid()) {
      return absl::FailedPreconditionError(
          absl::StrCat("Future::", operation, ": it is of no task"));
    }
    if (state_->Wait(timeout)) return absl::OkStatus();
    return absl::DeadlineExceededError(
        absl::StrCat("Future::", operation, ": the task has not ended after ",
                     absl::FormatDuration(timeout)));
  }

  std::shared_ptr<internal::FutureState<T>> state_;
};

}  // namespace mp

#endif  // MP_POOL_FUTURE_H_
