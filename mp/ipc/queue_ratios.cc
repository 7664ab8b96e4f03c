// Compares what a Queue costs with the least that a message can cost, with
// pipes and sockets, and with what Boost and CPython have for the same purpose.
//
// usage: queue_ratios [--check] [--pairs=N] [--filter=TEXT]
//
// Prints a table. A row is met if its ratio is within a quarter of the target,
// half if it is not more than twice as slow as the target asks for. They say
// little while the machine does other work.
//
// Exit status: 0; with --check, 1 if a row is worse than that. Rows for which
// something is not installed are not measured, which the table shows.

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/queue.h"
#include "mp/ipc/queue_carriers.h"
#include "mp/ipc/queue_flow.h"
#include "mp/testing/paired_benchmark.h"
#include "mp/testing/script_peer.h"

namespace mp {
namespace {

using testing::Measure;
using testing::Pair;
using testing::PairedBenchmark;
using testing::ScriptPeer;

constexpr char kPeerScript[] = "mp/ipc/testdata/queue_peer.py";

constexpr size_t kKibi = size_t{1} << 10;
constexpr size_t kMebi = size_t{1} << 20;

std::string SizeName(size_t bytes) {
  if (bytes >= kMebi) return absl::StrCat(bytes / kMebi, " MiB");
  if (bytes >= kKibi) return absl::StrCat(bytes / kKibi, " KiB");
  return absl::StrCat(bytes, " B");
}

// ---- There and back

void RunRoundTrips(ScriptPeer& python, PairedBenchmark& benchmark) {
  constexpr size_t kBytes = 64;
  const auto run = [&](const std::string& what, Placement placement,
                       absl::string_view with, const MakeCarrier& other,
                       double target, int runs) {
    benchmark.Compare(what, with,
                      RoundTripTime(kBytes, placement, QueueCarrier()),
                      RoundTripTime(kBytes, placement, other), target, runs);
  };
  const std::string apart = "64 B round trip, 2 cores";
  run(apart, Placement::kTwoCores, "ring that can sleep", RingCarrier, 1.3,
      20000);
  run(apart, Placement::kTwoCores, "pipe", PipeCarrier, 0.2, 4000);
  run(apart, Placement::kTwoCores, "Boost", BoostCarrier, 1.0 / 15, 4000);
  const std::string together = "64 B round trip, 1 core";
  run(together, Placement::kOneCore, "ring that can sleep", RingCarrier, 1.3,
      10000);
  run(together, Placement::kOneCore, "pipe", PipeCarrier, 1.0, 4000);
  const Measure ours =
      RoundTripTime(kBytes, Placement::kAnywhere, QueueCarrier());
  benchmark.Compare("64 B round trip", "CPython Pipe", ours,
                    python.Does("round_trip.Pipe.64"), 1.0 / 40, 10000, 1000);
  benchmark.Compare("64 B round trip", "CPython Queue", ours,
                    python.Does("round_trip.Queue.64"), 1.0 / 60, 10000, 1000);
}

// ---- One way, one to one

// What is asked of messages of one size, as times that a peer takes.
struct Targets {
  size_t bytes;
  int runs;
  int python_runs;
  double ring;
  double boost;
  double cpython;
};

constexpr Targets kOneToOne[] = {
    {64, 200'000, 5000, 1 / 0.6, 1.0 / 3, 1.0 / 50},
    {kKibi, 100'000, 5000, 1 / 0.6, 1 / 4.5, 1.0 / 50},
    {64 * kKibi, 4000, 400, 1 / 0.9, 1.0 / 2, 1.0 / 10},
    {kMebi, 300, 30, 1 / 0.9, 1 / 1.4, 1.0 / 10},
    {64 * kMebi, 24, 2, 1 / 0.9, 1.0 / 2, 1.0 / 10},
};

void RunOneToOne(const Targets& targets, ScriptPeer& python,
                 PairedBenchmark& benchmark) {
  const Flow flow = {.message_bytes = targets.bytes,
                     .placement = Placement::kTwoCores};
  const std::string what = absl::StrCat(SizeName(targets.bytes), " 1:1");
  const auto run = [&](absl::string_view with, const MakeCarrier& other,
                       double target) {
    benchmark.Compare(what, with, FlowTime(flow, QueueCarrier()),
                      FlowTime(flow, other), target, targets.runs);
  };
  run("ring that can sleep", RingCarrier, targets.ring);
  run("pipe", PipeCarrier, 1.0);
  run("socket", SocketCarrier, 1.0);
  run("Boost", BoostCarrier, targets.boost);
  if (targets.bytes >= kMebi) {
    benchmark.Compare(what, "memcpy in and out", FlowTime(flow, QueueCarrier()),
                      CopyTime(targets.bytes), 3, targets.runs);
  }
  const auto cpython = [&](absl::string_view kind) {
    benchmark.Compare(
        what, absl::StrCat("CPython ", kind), FlowTime(flow, QueueCarrier()),
        python.Does(absl::StrCat("flow.", kind, ".", targets.bytes, ".1.1")),
        targets.cpython, targets.runs, targets.python_runs);
  };
  cpython("Queue");
  cpython("SimpleQueue");
}

// ---- One way, several on a side

void RunSeveral(int producers, int consumers, ScriptPeer& python,
                PairedBenchmark& benchmark) {
  const Flow flow = {.producers = producers, .consumers = consumers};
  const std::string what = absl::StrCat("64 B ", producers, ":", consumers);
  const auto run = [&](const std::string& what, const QueueOptions& options) {
    const auto ours = [&] { return FlowTime(flow, QueueCarrier(options)); };
    benchmark.Compare(what, "pipe", ours(), FlowTime(flow, PipeCarrier), 1.0,
                      100'000);
    benchmark.Compare(what, "Boost", ours(), FlowTime(flow, BoostCarrier),
                      1.0 / 4, 100'000);
    benchmark.Compare(
        what, "CPython Queue", ours(),
        python.Does(absl::StrCat("flow.Queue.64.", producers, ".", consumers)),
        1.0 / 100, 100'000, 5000);
  };
  run(what, {});
  run(absl::StrCat(what, ", by producer"), {.order = QueueOrder::kPerProducer});
}

absl::StatusOr<int> Main(int argc, char** argv) {
  MP_ASSIGN_OR_RETURN(auto options,
                      testing::ParsePairedBenchmarkOptions(argc, argv));
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<ScriptPeer> python,
                      testing::PythonPeer(kPeerScript));
  PairedBenchmark benchmark(std::move(options), std::cout);
  RunRoundTrips(*python, benchmark);
  for (const Targets& targets : kOneToOne) {
    RunOneToOne(targets, *python, benchmark);
  }
  RunSeveral(4, 1, *python, benchmark);
  RunSeveral(1, 4, *python, benchmark);
  RunSeveral(4, 4, *python, benchmark);
  return benchmark.Finish();
}

}  // namespace
}  // namespace mp

int main(int argc, char** argv) {
  return mp::testing::ExitCodeOf(mp::Main(argc, argv));
}
