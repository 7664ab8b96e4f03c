#ifndef MP_POOL_INTERNAL_STREAM_STATE_H_
#define MP_POOL_INTERNAL_STREAM_STATE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
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

// Writes the arguments of the next item; false at the end.
using ItemSource = std::function<bool(Encoder&)>;

template <typename Types, typename Range>
ItemSource MakeItemSource(Range range) {
  // Where it lies must not change, as iterators point into it.
  struct Input {
    explicit Input(Range r) : range(std::move(r)), next(std::begin(range)) {}
    Range range;
    decltype(std::begin(std::declval<Range&>())) next;
  };
  auto input = std::make_shared<Input>(std::move(range));
  return [input](Encoder& items) {
    if (input->next == std::end(input->range)) return false;
    items.Write(typename Types::Tuple(*input->next));
    ++input->next;
    return true;
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
              const TaskOptions& options);
  // Cancels what is under way.
  ~StreamState();

  std::optional<Outcome> Next(absl::Duration timeout);

 private:
  void Feed();
  bool FeedChunk();

  const std::shared_ptr<StreamResults> results_;
  Submission submission_;
  const std::shared_ptr<const Job> job_;
  const ItemSource source_;
  const TaskOptions options_;
  const uint64_t buffer_size_;
  uint64_t fed_ = 0;    // items, of those that have been read
  uint64_t given_ = 0;  // results
  bool at_end_ = false;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_STREAM_STATE_H_
