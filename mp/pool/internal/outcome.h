#ifndef MP_POOL_INTERNAL_OUTCOME_H_
#define MP_POOL_INTERNAL_OUTCOME_H_

#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// What became of one item: what it returned, encoded, or why it has not.
using Outcome = absl::StatusOr<Parcel>;

// Those of one item, or of some that follow each other.
using Outcomes = absl::InlinedVector<Outcome, 1>;

// Those of items that fail for the same reason.
inline Outcomes AllFailed(uint64_t items, const absl::Status& why) {
  Outcomes outcomes;
  outcomes.reserve(items);
  for (uint64_t i = 0; i < items; ++i) outcomes.emplace_back(why);
  return outcomes;
}

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_OUTCOME_H_
