#ifndef MP_POOL_INTERNAL_OUTCOME_H_
#define MP_POOL_INTERNAL_OUTCOME_H_

#include "absl/status/statusor.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// What became of one item: what it returned, encoded, or why it has not.
using Outcome = absl::StatusOr<Parcel>;

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_OUTCOME_H_
