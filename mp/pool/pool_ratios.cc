// Compares what a task of a Pool costs with the least that it can cost, and with
// CPython's Pool and ProcessPoolExecutor. The tasks do nothing.
//
// usage: pool_ratios [--check] [--pairs=N] [--filter=TEXT]
//
// Prints a table. A row is met if its ratio is within a quarter of the target,
// half if it is not more than twice as slow as the target asks for. They say
// little while the machine does other work.
//
// Exit status: 0; with --check, 1 if a row is worse than that. Rows for which
// something is not installed are not measured, which the table shows.

#include <functional>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/pool/future.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_floor.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/testing/paired_benchmark.h"
#include "mp/testing/script_peer.h"

namespace mp {
namespace {

using testing::Measure;
using testing::PairedBenchmark;
using testing::ScriptPeer;

constexpr char kPeerScript[] = "mp/pool/testdata/pool_peer.py";
constexpr int kWorkers = 2;

int Same(int x) { return x; }

std::vector<int> Numbers(int count) {
  std::vector<int> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

// How long `use` of a pool takes that has run something before.
Measure PoolTime(const std::function<absl::Status(Pool& pool, int runs)>& use) {
  return [use](int runs) -> absl::StatusOr<absl::Duration> {
    MP_ASSIGN_OR_RETURN(
        Pool pool,
        Pool::Create({.processes = kWorkers, .context = StartMethod::kFork}));
    MP_RETURN_IF_ERROR(use(pool, kWorkers));
    const absl::Time begin = absl::Now();
    MP_RETURN_IF_ERROR(use(pool, runs));
    return absl::Now() - begin;
  };
}

Measure MapTime(const TaskOptions& options) {
  return PoolTime([options](Pool& pool, int runs) {
    return pool.Map(Same, Numbers(runs), options).status();
  });
}

Measure ImapTime() {
  return PoolTime([](Pool& pool, int runs) -> absl::Status {
    auto stream = pool.Imap(Same, Numbers(runs));
    while (auto result = stream.Next()) MP_RETURN_IF_ERROR(result->status());
    return absl::OkStatus();
  });
}

Measure ApplyAsyncTime() {
  return PoolTime([](Pool& pool, int runs) -> absl::Status {
    std::vector<Future<int>> futures;
    futures.reserve(static_cast<size_t>(runs));
    for (int i = 0; i < runs; ++i) {
      futures.push_back(pool.ApplyAsync(Same, i));
    }
    for (const auto& future : futures) {
      MP_RETURN_IF_ERROR(future.Get().status());
    }
    return absl::OkStatus();
  });
}

// One task at a time, in a pool that sleeps.
Measure ApplyTime() {
  return [](int runs) -> absl::StatusOr<absl::Duration> {
    MP_ASSIGN_OR_RETURN(
        Pool pool,
        Pool::Create({.processes = kWorkers, .context = StartMethod::kFork}));
    MP_RETURN_IF_ERROR(pool.Apply(Same, 0).status());
    absl::Duration taken;
    for (int i = 0; i < runs; ++i) {
      absl::SleepFor(absl::Milliseconds(1));
      const absl::Time begin = absl::Now();
      MP_RETURN_IF_ERROR(pool.Apply(Same, i).status());
      taken += absl::Now() - begin;
    }
    return taken;
  };
}

class Ratios {
 public:
  Ratios(ScriptPeer& python, PairedBenchmark& benchmark)
      : python_(python), benchmark_(benchmark) {}

  void Run() {
    const Measure rings = RingsTime(kWorkers);
    const Measure one = MapTime({.chunk_size = 1});
    benchmark_.Compare("map, chunk 1", "rings", one, rings, 2, 100'000);
    CompareCPython("map, chunk 1", "Pool.map.1", one, 1.0 / 100, 100'000, 5000);

    const Measure chunks = MapTime({});
    benchmark_.Compare("map, default chunk", "claims", chunks,
                       ClaimsTime(kWorkers), 4, 200'000);
    CompareCPython("map, default chunk", "Pool.map.default", chunks, 1.0 / 25,
                   100'000);
    CompareCPython("map, default chunk", "Executor.map.1000", chunks, 1.0 / 50,
                   100'000);

    const Measure imap = ImapTime();
    benchmark_.Compare("imap", "rings", imap, rings, 6, 20'000);
    CompareCPython("imap", "Pool.imap", imap, 1.0 / 50, 20'000, 5000);

    const Measure apply_async = ApplyAsyncTime();
    benchmark_.Compare("apply_async", "rings", apply_async, rings, 6, 20'000);
    CompareCPython("apply_async", "Pool.apply_async", apply_async, 1.0 / 50,
                   20'000, 5000);
    CompareCPython("apply_async", "Executor.submit", apply_async, 1.0 / 50,
                   20'000, 2000);

    const Measure apply = ApplyTime();
    benchmark_.Compare("apply, asleep", "two wakes", apply, TwoWakesTime(), 1.3,
                       300);
    CompareCPython("apply, asleep", "Pool.apply", apply, 1.0 / 15, 300);
  }

 private:
  void CompareCPython(absl::string_view what, const std::string& with,
                      const Measure& ours, double target, int runs,
                      std::optional<int> python_runs = std::nullopt) {
    benchmark_.Compare(what, absl::StrCat("CPython ", with), ours,
                       python_.Does(with), target, runs, python_runs);
  }

  ScriptPeer& python_;
  PairedBenchmark& benchmark_;
};

absl::StatusOr<int> Main(int argc, char** argv) {
  // A debugging aid that Abseil has on where it was built without NDEBUG, at
  // microseconds for each mutex that comes and goes.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  MP_ASSIGN_OR_RETURN(auto options,
                      testing::ParsePairedBenchmarkOptions(argc, argv));
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<ScriptPeer> python,
                      testing::PythonPeer(kPeerScript));
  PairedBenchmark benchmark(std::move(options), std::cout);
  Ratios(*python, benchmark).Run();
  return benchmark.Finish();
}

}  // namespace
}  // namespace mp

int main(int argc, char** argv) {
  return mp::testing::ExitCodeOf(mp::Main(argc, argv));
}
