// Compares what it costs to start a process, run an empty function in it and
// join it with the bare system calls, and with CPython's multiprocessing.
//
// usage: process_ratios [--check] [--pairs=N] [--filter=TEXT]
//
// Prints a table. A row is met if its ratio is within a quarter of the target,
// half if it is not more than twice as slow as the target asks for. Other work
// on the machine hurts ours more, which takes more turns than a bare call.
//
// Exit status: 0; with --check, 1 if a row is worse than that. Without python3
// the rows of CPython are not measured, which the table shows.

#include <cstddef>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/init.h"
#include "mp/process/internal/start_floor.h"
#include "mp/process/process.h"
#include "mp/testing/ballast.h"
#include "mp/testing/paired_benchmark.h"
#include "mp/testing/script_peer.h"

namespace mp {
namespace {

using internal::BareForkServer;
using testing::Ballast;
using testing::Measure;
using testing::PairedBenchmark;
using testing::ScriptPeer;
using testing::TimedEach;

constexpr size_t kGibibyte = size_t{1} << 30;
constexpr char kPeerScript[] = "mp/process/testdata/start_peer.py";

// For a sample of about ten milliseconds where a start takes 0.3 ms.
constexpr int kRuns = 30;
// Where one takes several by itself.
constexpr int kFewRuns = 3;

void Nothing() {}

absl::Status StartAndJoin(StartMethod method) {
  Process process({.context = method}, Nothing);
  MP_RETURN_IF_ERROR(process.Start());
  MP_RETURN_IF_ERROR(process.Join());
  if (process.exitcode() == 0) return absl::OkStatus();
  return absl::InternalError("a process that does nothing has failed");
}

Measure Ours(StartMethod method) {
  return TimedEach([method] { return StartAndJoin(method); });
}

Measure Bare(BareForkServer& server) {
  return TimedEach([&server] { return server.StartAndJoin(); });
}

// The same, in a process that is larger by so much.
Measure WithBallast(size_t bytes, Measure measure) {
  return [bytes, measure = std::move(measure)](
             int runs) -> absl::StatusOr<absl::Duration> {
    MP_ASSIGN_OR_RETURN(const Ballast ballast, Ballast::Create(bytes));
    return measure(runs);
  };
}

// The rows that hold for a process of any size.
void RunFloors(const std::string& size, int fork_runs, BareForkServer& clients,
               BareForkServer& own, PairedBenchmark& benchmark) {
  benchmark.Run({.name = absl::StrCat("forkserver / bare, CLONE_PARENT", size),
                 .ours = Ours(StartMethod::kForkServer),
                 .floor = Bare(clients),
                 .target = 1.3,
                 .runs = kRuns});
  benchmark.Run({.name = absl::StrCat("forkserver / bare, server reaps", size),
                 .ours = Ours(StartMethod::kForkServer),
                 .floor = Bare(own),
                 .target = 1.3,
                 .runs = kRuns});
  benchmark.Run({.name = absl::StrCat("spawn / posix_spawn", size),
                 .ours = Ours(StartMethod::kSpawn),
                 .floor = TimedEach(internal::SpawnAndWait),
                 .target = 1.2,
                 .runs = kRuns / 3});
  benchmark.Run({.name = absl::StrCat("fork / bare fork", size),
                 .ours = Ours(StartMethod::kFork),
                 .floor = TimedEach(internal::ForkAndWait),
                 .target = 1.2,
                 .runs = fork_runs});
}

// That a large process pays no more, and with what it is compared.
void RunLarge(BareForkServer& clients, BareForkServer& own,
              PairedBenchmark& benchmark) {
  const std::string size = ", 1 GiB";
  benchmark.Run({.name = "forkserver, 1 GiB / itself, small",
                 .ours = WithBallast(kGibibyte, Ours(StartMethod::kForkServer)),
                 .floor = Ours(StartMethod::kForkServer),
                 .target = 1.3,
                 .runs = kRuns});
  if (!benchmark.Wants(size)) return;
  const absl::StatusOr<Ballast> ballast = Ballast::Create(kGibibyte);
  if (!ballast.ok()) {
    std::cout << "NOT MEASURED" << size << ": " << ballast.status() << "\n";
    return;
  }
  RunFloors(size, kFewRuns, clients, own, benchmark);
}

void RunPeers(ScriptPeer& python, PairedBenchmark& benchmark) {
  benchmark.Run({.name = "fork / CPython fork",
                 .ours = Ours(StartMethod::kFork),
                 .floor = python.Does("fork"),
                 .target = 1.0 / 10,
                 .runs = kRuns / 3});
  benchmark.Run({.name = "forkserver / CPython forkserver, empty main",
                 .ours = Ours(StartMethod::kForkServer),
                 .floor = python.Does("forkserver"),
                 .target = 1.0 / 10,
                 .runs = kRuns / 3});
  benchmark.Run({.name = "spawn / CPython spawn, empty main",
                 .ours = Ours(StartMethod::kSpawn),
                 .floor = python.Does("spawn"),
                 .target = 1.0 / 50,
                 .runs = kFewRuns});
}

absl::StatusOr<int> Main(int argc, char** argv) {
  MP_ASSIGN_OR_RETURN(auto options,
                      testing::ParsePairedBenchmarkOptions(argc, argv));
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<testing::ScriptPeer> python,
                      testing::PythonPeer(kPeerScript));
  MP_ASSIGN_OR_RETURN(BareForkServer clients,
                      BareForkServer::Start(BareForkServer::Parent::kClient));
  MP_ASSIGN_OR_RETURN(BareForkServer own,
                      BareForkServer::Start(BareForkServer::Parent::kServer));
  PairedBenchmark benchmark(std::move(options), std::cout);
  RunFloors("", kRuns, clients, own, benchmark);
  RunPeers(*python, benchmark);
  RunLarge(clients, own, benchmark);
  return benchmark.Finish();
}

}  // namespace
}  // namespace mp

int main(int argc, char** argv) {
  mp::internal::ServeStartFloor(argc, argv);
  mp::Init(argc, argv);
  return mp::testing::ExitCodeOf(mp::Main(argc, argv));
}
