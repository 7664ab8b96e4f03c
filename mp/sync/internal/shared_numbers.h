#ifndef MP_SYNC_INTERNAL_SHARED_NUMBERS_H_
#define MP_SYNC_INTERNAL_SHARED_NUMBERS_H_

#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sync/internal/placed.h"

namespace mp::internal {

// Some numbers that the processes of a test share, under any start method.
//
// Example:
//   SharedNumbers seen;
//   Process process(options(), [](SharedNumbers seen) { ++seen[0]; }, seen);
class SharedNumbers {
 public:
  static constexpr int kCount = 8;
  struct State {
    std::atomic<int64_t> numbers[kCount];
  };

  // All are 0.
  SharedNumbers() : placed_(Placed<State>::Create().value()) {}
  explicit SharedNumbers(Placed<State> placed) : placed_(std::move(placed)) {}

  std::atomic<int64_t>& operator[](int i) const { return placed_->numbers[i]; }

  const Placed<State>& placed() const { return placed_; }

 private:
  Placed<State> placed_;
};

}  // namespace mp::internal

namespace mp {

template <>
struct Serializer<internal::SharedNumbers> {
  static void Encode(const internal::SharedNumbers& numbers, Encoder& encoder) {
    numbers.placed().Encode(encoder, "SharedNumbers");
  }
  static absl::StatusOr<internal::SharedNumbers> Decode(Decoder& decoder) {
    using State = internal::SharedNumbers::State;
    MP_ASSIGN_OR_RETURN(auto placed, internal::Placed<State>::Decode(decoder));
    return internal::SharedNumbers(std::move(placed));
  }
};

}  // namespace mp

#endif  // MP_SYNC_INTERNAL_SHARED_NUMBERS_H_
