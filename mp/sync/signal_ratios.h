#ifndef MP_SYNC_SIGNAL_RATIOS_H_
#define MP_SYNC_SIGNAL_RATIOS_H_

#include "absl/status/status.h"
#include "mp/testing/paired_benchmark.h"
#include "mp/testing/script_peer.h"

namespace mp {

// Adds the rows about semaphores, events and barriers. `python` runs
// testdata/sync_peer.py.
absl::Status RunSignalRatios(testing::ScriptPeer& python,
                             testing::PairedBenchmark& benchmark);

}  // namespace mp

#endif  // MP_SYNC_SIGNAL_RATIOS_H_
