#ifndef MP_POOL_RESULT_STREAM_H_
#define MP_POOL_RESULT_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/map_state.h"
#include "mp/pool/internal/stream_state.h"
#include "mp/pool/pool_options.h"
#include "mp/process/encoder.h"

namespace mp {

enum class StreamOrder {
  kAsPut,   // the order of the items
  kAsDone,  // as they end
};

// The results of Pool::Imap() and ImapUnordered(), one after the other.
//
// Example:
//   auto results = pool.Imap(Parse, lines);
//   while (auto result = results.Next()) {
//     MP_ASSIGN_OR_RETURN(Record record, *std::move(result));
//     Use(record);
//   }
//
// The input is read by the thread that calls Next(), only so far that the
// workers have enough to do. An exception that it throws is one last result.
//
// Owns:    the input, and what has been read of it. One that goes away before
//          its end cancels what is under way, and reads no more.
// Threads: for one.
// Death:   as Pool's.
// Source:  CPython multiprocessing.pool.IMapIterator.
template <typename T>
class ResultStream {
 public:
  // absl::StatusOr<T>, or absl::Status if there is no value.
  using Result = typename internal::ItemResult<T>::Type;

  ResultStream(StreamOrder order, std::weak_ptr<internal::Engine> engine,
               std::shared_ptr<const internal::Job> job,
               internal::ItemSource source, const TaskOptions& options,
               absl::Time deadline = absl::InfiniteFuture())
      : state_(std::make_unique<internal::StreamState>(
            order == StreamOrder::kAsPut, std::move(engine), std::move(job),
            std::move(source), options, deadline)) {}

  ResultStream(ResultStream&&) noexcept = default;
  ResultStream& operator=(ResultStream&&) noexcept = default;

  // Waits for the next result. Nullopt if there are no more.
  //
  // Errors, as the result:
  //   kDeadlineExceeded  "ResultStream::Next": none in time; it is still to
  //                      come.
  //   those of the item's function and worker
  // Source: CPython IMapIterator.next(timeout).
  std::optional<Result> Next(
      absl::Duration timeout = absl::InfiniteDuration()) {
    std::optional<internal::Outcome> outcome = state_->Next(timeout);
    if (!outcome.has_value()) return std::nullopt;
    return internal::DecodeOutcome<T>(*std::move(outcome));
  }

  // Has items read and under way before anybody asks for results: as many as
  // the buffer holds.
  void Start() { state_->Feed(); }

  // Cancels what is under way, and reads no more. Next() gives nullopt then.
  // May be called again.
  //
  // Source: CPython 3.16, close() of the iterator of Executor.map().
  void Close() { state_->Close(); }

 private:
  std::unique_ptr<internal::StreamState> state_;
};

}  // namespace mp

#endif  // MP_POOL_RESULT_STREAM_H_
