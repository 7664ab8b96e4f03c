#ifndef MP_SYNC_CONDITION_RATIOS_H_
#define MP_SYNC_CONDITION_RATIOS_H_

#include "absl/status/status.h"
#include "mp/testing/paired_benchmark.h"
#include "mp/testing/script_peer.h"

namespace mp {

// Adds the rows about conditions. `python` runs testdata/sync_peer.py.
absl::Status RunConditionRatios(testing::ScriptPeer& python,
                                testing::PairedBenchmark& benchmark);

}  // namespace mp

#endif  // MP_SYNC_CONDITION_RATIOS_H_
