#ifndef MP_POOL_INTERNAL_STREAM_STATE_H_
#define MP_POOL_INTERNAL_STREAM_STATE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/submission.h"
#include "mp/pool/pool_options.h"
#include "mp/process/encoder.h"

namespace mp::internal {

// Gives the arguments of the next item, or why there are none; nullopt at the
// end.
using ItemSource = std::function<std::optional<absl::StatusOr<Parcel>>()>;

// A range, and how far it has been read.
template <typename Range>
class Input {
 public:
  explicit Input(Range range)
      : range_(std::move(range)), next_(std::begin(range_)) {}
  // Iterators point into it.
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  bool at_end() { return next_ == std::end(range_); }
  decltype(auto) item() { return *next_; }
  void Advance() { ++next_; }

 private:
  Range range_;
  decltype(std::begin(std::declval<Range&>())) next_;
};

// Reads ranges side by side, up to the end of the shortest.
template <typename Types, typename... Ranges>
ItemSource MakeItemSource(Ranges... ranges) {
  using Inputs = std::tuple<Input<Ranges>...>;
  auto inputs = std::make_shared<Inputs>(std::move(ranges)...);
  return [inputs] {
    return std::apply(
        [](auto&... input) -> std::optional<absl::StatusOr<Parcel>> {
          if ((input.at_end() || ...)) return std::nullopt;
          absl::StatusOr<Parcel> item =
              EncodeItem<Types>(typename Types::Tuple(input.item()...));
          (input.Advance(), ...);
          return item;
        },
        *inputs);
  };
}

class StreamResults;

// A ResultStream, but for its type.
//
// Threads: for one.
class StreamState {
 public:
  StreamState(bool in_order, std::weak_ptr<Engine> engine,
              std::shared_ptr<const Job> job, ItemSource source,
              const TaskOptions& options,
              absl::Time deadline = absl::InfiniteFuture());
  // Cancels what is under way.
  ~StreamState();

  // Reads and submits as much as there is room for, unless its time is over.
  void Feed(absl::Time until = absl::InfiniteFuture());

  std::optional<Outcome> Next(absl::Duration timeout);

  // Cancels what is under way, and has no more.
  void Close();

 private:
  void FeedItems();
  void FeedChunk(ItemBatch& batch);

  const std::shared_ptr<StreamResults> results_;
  Submission submission_;
  const std::shared_ptr<const Job> job_;
  const ItemSource source_;
  const TaskOptions options_;
  const absl::Time deadline_;
  const uint64_t buffer_size_;
  const uint64_t chunk_size_;
  uint64_t fed_ = 0;    // items, of those that have been read
  uint64_t given_ = 0;  // results
  bool at_end_ = false;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_STREAM_STATE_H_
