// Compares what mp/sync costs with bare futexes, with what the C library, Boost
// and CPython have for the same purpose, and with limits.
//
// usage: sync_ratios [--check] [--pairs=N] [--filter=TEXT]
//
// Prints a table. A row is met if its ratio is within a quarter of the target,
// half if it is not more than twice as slow as the target asks for. Those of
// several processes say little while the machine does other work.
//
// Exit status: 0; with --check, 1 if a row is worse than that. Rows for which
// something is not installed are not measured, which the table shows.

#include <iostream>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/sync/condition_ratios.h"
#include "mp/sync/death_ratios.h"
#include "mp/sync/lock_ratios.h"
#include "mp/sync/signal_ratios.h"
#include "mp/testing/paired_benchmark.h"
#include "mp/testing/script_peer.h"

namespace mp {
namespace {

constexpr char kPeerScript[] = "mp/sync/testdata/sync_peer.py";

absl::StatusOr<int> Main(int argc, char** argv) {
  MP_ASSIGN_OR_RETURN(auto options,
                      testing::ParsePairedBenchmarkOptions(argc, argv));
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<testing::ScriptPeer> python,
                      testing::PythonPeer(kPeerScript));
  testing::PairedBenchmark benchmark(std::move(options), std::cout);
  MP_RETURN_IF_ERROR(RunLockRatios(*python, benchmark));
  MP_RETURN_IF_ERROR(RunConditionRatios(*python, benchmark));
  MP_RETURN_IF_ERROR(RunSignalRatios(*python, benchmark));
  MP_RETURN_IF_ERROR(RunDeathRatios(benchmark));
  return benchmark.Finish();
}

}  // namespace
}  // namespace mp

int main(int argc, char** argv) {
  return mp::testing::ExitCodeOf(mp::Main(argc, argv));
}
