#ifndef MP_SYNC_DEATH_RATIOS_H_
#define MP_SYNC_DEATH_RATIOS_H_

#include "absl/status/status.h"
#include "mp/testing/paired_benchmark.h"

namespace mp {

// How long it takes from a process's death until those that wait for it have
// come back, beside a limit. A part of sync_ratios.
absl::Status RunDeathRatios(testing::PairedBenchmark& benchmark);

}  // namespace mp

#endif  // MP_SYNC_DEATH_RATIOS_H_
