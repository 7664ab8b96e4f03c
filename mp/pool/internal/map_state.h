#ifndef MP_POOL_INTERNAL_MAP_STATE_H_
#define MP_POOL_INTERNAL_MAP_STATE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/future_state.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/outcome.h"
#include "mp/process/decoder.h"
#include "mp/process/internal/runner.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// absl::StatusOr<T>, or absl::Status where there is no value.
template <typename T>
struct ItemResult {
  using Type = absl::StatusOr<T>;
};
template <>
struct ItemResult<void> {
  using Type = absl::Status;
};

// The value that a worker sent. What cannot be read is a status of its own.
template <typename T>
typename ItemResult<T>::Type DecodeOutcome(Outcome outcome) {
  MP_RETURN_IF_ERROR(outcome.status());
  if constexpr (std::is_void_v<T>) {
    return absl::OkStatus();
  } else {
    absl::StatusOr<T> value = absl::DataLossError("no result");
    const absl::Status read = RunCatching([&] {
      Decoder decoder(*std::move(outcome));
      value = decoder.Read<T>();
      MP_RETURN_IF_ERROR(value.status());
      return decoder.ExpectEnd();
    });
    if (!read.ok()) return Explain("the result cannot be read", read);
    return value;
  }
}

// The one result of an Apply().
template <typename T>
class ApplyHandler final : public TaskHandler {
 public:
  explicit ApplyHandler(std::shared_ptr<FutureState<T>> future)
      : future_(std::move(future)) {}

  void OnOutcomes(uint64_t, Outcomes outcomes) override {
    future_->Set(DecodeOutcome<T>(std::move(outcomes.front())));
  }

 private:
  const std::shared_ptr<FutureState<T>> future_;
};

// What a Map() tells of its results.
template <typename T>
struct MapCallbacks {
  using Results = std::vector<typename ItemResult<T>::Type>;

  // Gets all, in the order of the items.
  std::function<void(Results)> finish;
  // If there is one: gets each error as it comes, before the end.
  std::function<void(const absl::Status&)> on_error = nullptr;
};

// The results of a Map(), of which each task has some.
//
// Threads: different items from several threads.
template <typename T>
class MapState {
 public:
  MapState(size_t items, MapCallbacks<T> callbacks)
      : results_(items, absl::UnknownError("not run")),
        left_(items),
        callbacks_(std::move(callbacks)) {
    if (items == 0) callbacks_.finish({});
  }

  void Set(size_t first, Outcomes outcomes) {
    const size_t count = outcomes.size();
    size_t index = first;
    for (Outcome& outcome : outcomes) {
      auto result = DecodeOutcome<T>(std::move(outcome));
      if (!result.ok() && callbacks_.on_error != nullptr) {
        callbacks_.on_error(StatusOf(result));
      }
      results_[index++] = std::move(result);
    }
    if (left_.fetch_sub(count) == count) callbacks_.finish(std::move(results_));
  }

 private:
  static const absl::Status& StatusOf(const absl::Status& s) { return s; }
  template <typename V>
  static const absl::Status& StatusOf(const absl::StatusOr<V>& result) {
    return result.status();
  }

  typename MapCallbacks<T>::Results results_;
  std::atomic<size_t> left_;
  const MapCallbacks<T> callbacks_;
};

template <typename T>
class RangeHandler final : public TaskHandler {
 public:
  RangeHandler(std::shared_ptr<MapState<T>> map, size_t first)
      : map_(std::move(map)), first_(first) {}

  void OnOutcomes(uint64_t first, Outcomes outcomes) override {
    map_->Set(first_ + first, std::move(outcomes));
  }

 private:
  const std::shared_ptr<MapState<T>> map_;
  const size_t first_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_MAP_STATE_H_
