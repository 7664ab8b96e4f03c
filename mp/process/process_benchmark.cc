// How long it takes to start a process, run an empty function in it and join
// it; beside it, the bare system calls.
//
// Run it with "bazel run -c opt //mp/process:process_benchmark". For ratios,
// which are what can be compared between machines, see process_ratios.cc.

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "benchmark/benchmark.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/init.h"
#include "mp/process/internal/start_floor.h"
#include "mp/process/process.h"
#include "mp/testing/ballast.h"

namespace mp {
namespace {

using internal::BareForkServer;
using testing::Ballast;

// The memory that the parent has touched besides its own.
std::optional<Ballast> BallastOf(const benchmark::State& state) {
  if (state.range(0) == 0) return std::nullopt;
  absl::StatusOr<Ballast> ballast =
      Ballast::Create(static_cast<size_t>(state.range(0)) << 20);
  MP_CHECK_OK(ballast.status());
  return *std::move(ballast);
}

void BM_Process_StartAndJoin(benchmark::State& state, StartMethod method) {
  const std::optional<Ballast> ballast = BallastOf(state);
  for (auto _ : state) {
    Process process({.context = method}, [] {});
    MP_CHECK_OK(process.Start());
    MP_CHECK_OK(process.Join());
  }
}
BENCHMARK_CAPTURE(BM_Process_StartAndJoin, forkserver, StartMethod::kForkServer)
    ->ArgName("MiB")
    ->Arg(0)
    ->Arg(1 << 10)
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_Process_StartAndJoin, spawn, StartMethod::kSpawn)
    ->ArgName("MiB")
    ->Arg(0)
    ->Arg(1 << 10)
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_Process_StartAndJoin, fork, StartMethod::kFork)
    ->ArgName("MiB")
    ->Arg(0)
    ->Arg(1 << 10)
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_Process_StartAndJoin, thread, StartMethod::kThread)
    ->ArgName("MiB")
    ->Arg(0)
    ->UseRealTime();

void BM_Floor_ForkServer(benchmark::State& state,
                         BareForkServer::Parent parent) {
  absl::StatusOr<BareForkServer> server = BareForkServer::Start(parent);
  MP_CHECK_OK(server.status());
  const std::optional<Ballast> ballast = BallastOf(state);
  for (auto _ : state) MP_CHECK_OK(server->StartAndJoin());
}
BENCHMARK_CAPTURE(BM_Floor_ForkServer, clone_parent,
                  BareForkServer::Parent::kClient)
    ->ArgName("MiB")
    ->Arg(0)
    ->Arg(1 << 10)
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_Floor_ForkServer, server_reaps,
                  BareForkServer::Parent::kServer)
    ->ArgName("MiB")
    ->Arg(0)
    ->Arg(1 << 10)
    ->UseRealTime();

void BM_Floor_PosixSpawn(benchmark::State& state) {
  const std::optional<Ballast> ballast = BallastOf(state);
  for (auto _ : state) MP_CHECK_OK(internal::SpawnAndWait());
}
BENCHMARK(BM_Floor_PosixSpawn)
    ->ArgName("MiB")
    ->Arg(0)
    ->Arg(1 << 10)
    ->UseRealTime();

void BM_Floor_Fork(benchmark::State& state) {
  const std::optional<Ballast> ballast = BallastOf(state);
  for (auto _ : state) MP_CHECK_OK(internal::ForkAndWait());
}
BENCHMARK(BM_Floor_Fork)->ArgName("MiB")->Arg(0)->Arg(1 << 10)->UseRealTime();

}  // namespace
}  // namespace mp

int main(int argc, char** argv) {
  mp::internal::ServeStartFloor(argc, argv);
  mp::Init(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
