// Compares what blocks of shared memory cost with the bare system calls, and
// with CPython's SharedMemory.
//
// usage: shared_memory_ratios [--check] [--pairs=N] [--filter=TEXT]
//
// Prints a table. A row is met if its ratio is within a quarter of the target,
// half if it is not more than twice as slow as the target asks for.
//
// Exit status: 0; with --check, 1 if a row is worse than that. Without python3
// the rows of CPython are not measured, which the table shows.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/serializer.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/testing/paired_benchmark.h"
#include "mp/testing/script_peer.h"

namespace mp {
namespace {

using testing::PairedBenchmark;
using testing::ScriptPeer;
using testing::TimedEach;

constexpr size_t kSize = size_t{1} << 20;
constexpr size_t kFillSize = size_t{64} << 20;
constexpr int kRuns = 300;
constexpr int kFillRuns = 2;
constexpr char kName[] = "/mp_shared_memory_ratios";
constexpr char kPeerScript[] = "mp/sharedmem/testdata/shared_memory_peer.py";

absl::Status MapAndUnmap(int fd) {
  void* const memory =
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return ErrnoStatus(errno, "mmap");
  munmap(memory, kSize);
  return absl::OkStatus();
}

// What others do to make a block.

absl::Status MakeMemfd() {
  const Fd fd(memfd_create("floor", MFD_CLOEXEC));
  if (ftruncate(fd.get(), kSize) != 0) return ErrnoStatus(errno, "ftruncate");
  return MapAndUnmap(fd.get());
}

absl::Status MakeShm() {
  const Fd fd(shm_open(kName, O_CREAT | O_EXCL | O_RDWR, 0600));
  if (ftruncate(fd.get(), kSize) != 0) return ErrnoStatus(errno, "ftruncate");
  const absl::Status mapped = MapAndUnmap(fd.get());
  shm_unlink(kName);
  return mapped;
}

absl::Status OpenShm() {
  const Fd fd(shm_open(kName, O_RDWR, 0));
  return MapAndUnmap(fd.get());
}

// What we do.

absl::Status MakeAnonymous() { return SharedMemory::Create(kSize).status(); }

absl::Status MakeNamed(bool track) {
  MP_ASSIGN_OR_RETURN(
      const SharedMemory block,
      SharedMemory::Create(kSize, {.named = true, .track = track}));
  return block.Unlink();
}

// As a message that has arrived, less the socket.
absl::StatusOr<Parcel> ParcelOf(const SharedMemory& block) {
  Encoder encoder;
  encoder.Write(block);
  return std::move(encoder).Finish();
}

absl::Status SendAndReceive(const SharedMemory& block) {
  MP_ASSIGN_OR_RETURN(Parcel parcel, ParcelOf(block));
  Decoder decoder(std::move(parcel));
  return decoder.Read<SharedMemory>().status();
}

// Duplicates the descriptor as a message does.
absl::Status DupAndMap(const Fd& fd) {
  MP_ASSIGN_OR_RETURN(const Fd second, fd.Dup());
  return MapAndUnmap(second.get());
}

void RunMakes(PairedBenchmark& benchmark) {
  benchmark.Run({.name = "create / memfd_create",
                 .ours = TimedEach(MakeAnonymous),
                 .floor = TimedEach(MakeMemfd),
                 .target = 1.3,
                 .runs = kRuns});
  benchmark.Run({.name = "create, named, untracked / shm_open",
                 .ours = TimedEach([] { return MakeNamed(false); }),
                 .floor = TimedEach(MakeShm),
                 .target = 1.3,
                 .runs = kRuns});
  benchmark.Run({.name = "create, named, tracked / shm_open",
                 .ours = TimedEach([] { return MakeNamed(true); }),
                 .floor = TimedEach(MakeShm),
                 .target = 1.3,
                 .runs = kRuns});
}

absl::Status RunAttaches(PairedBenchmark& benchmark) {
  MP_ASSIGN_OR_RETURN(const SharedMemory anonymous,
                      SharedMemory::Create(kSize));
  const Fd memfd(memfd_create("floor", MFD_CLOEXEC));
  if (ftruncate(memfd.get(), kSize) != 0) return ErrnoStatus(errno, "memfd");
  benchmark.Run({.name = "send and attach / dup and mmap",
                 .ours = TimedEach([&] { return SendAndReceive(anonymous); }),
                 .floor = TimedEach([&] { return DupAndMap(memfd); }),
                 .target = 1.8,
                 .runs = kRuns});
  MP_ASSIGN_OR_RETURN(const SharedMemory named,
                      SharedMemory::Create(kSize, {.name = kName}));
  benchmark.Run(
      {.name = "open / shm_open and mmap",
       .ours = TimedEach([] { return SharedMemory::Open(kName).status(); }),
       .floor = TimedEach(OpenShm),
       .target = 1.3,
       .runs = kRuns});
  return named.Unlink();
}

absl::Status WriteMemfd(const std::string& bytes) {
  const Fd fd(memfd_create("floor", MFD_CLOEXEC));
  return WriteAll(fd.get(), bytes);
}

absl::Status RunFills(PairedBenchmark& benchmark) {
  const std::string bytes(kFillSize, 'x');
  MP_ASSIGN_OR_RETURN(const SharedMemory warm, SharedMemory::From(bytes));
  MP_RETURN_IF_ERROR(warm.Fill('w'));
  benchmark.Run(
      {.name = "From(64 MiB) / write",
       .ours = TimedEach([&] { return SharedMemory::From(bytes).status(); }),
       .floor = TimedEach([&] { return WriteMemfd(bytes); }),
       .target = 1 / 0.9,
       .runs = kFillRuns});
  benchmark.Run({.name = "CopyFrom(64 MiB), warm / memcpy to it",
                 .ours = TimedEach([&] { return warm.CopyFrom(bytes); }),
                 .floor = TimedEach([&] {
                   std::memcpy(warm.data().data(), bytes.data(), kFillSize);
                   return absl::OkStatus();
                 }),
                 .target = 1 / 0.95,
                 .runs = kFillRuns});
  return absl::OkStatus();
}

absl::Status RunPeers(ScriptPeer& python, PairedBenchmark& benchmark) {
  benchmark.Run({.name = "create, named, tracked / CPython",
                 .ours = TimedEach([] { return MakeNamed(true); }),
                 .floor = python.Does("create"),
                 .target = 1.0 / 4,
                 .runs = kRuns});
  benchmark.Run({.name = "create / CPython",
                 .ours = TimedEach(MakeAnonymous),
                 .floor = python.Does("create"),
                 .target = 1.0 / 4,
                 .runs = kRuns});
  MP_ASSIGN_OR_RETURN(const SharedMemory named,
                      SharedMemory::Create(kSize, {.name = kName}));
  benchmark.Run(
      {.name = "open / CPython",
       .ours = TimedEach([] { return SharedMemory::Open(kName).status(); }),
       .floor = python.Does("open"),
       .target = 1.0 / 4,
       .runs = kRuns});
  const std::string bytes(kFillSize, 'x');
  benchmark.Run(
      {.name = "From(64 MiB) / CPython",
       .ours = TimedEach([&] { return SharedMemory::From(bytes).status(); }),
       .floor = python.Does("fill"),
       .target = 1.0 / 2,
       .runs = kFillRuns});
  return named.Unlink();
}

absl::StatusOr<int> Main(int argc, char** argv) {
  MP_ASSIGN_OR_RETURN(auto options,
                      testing::ParsePairedBenchmarkOptions(argc, argv));
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<testing::ScriptPeer> python,
                      testing::PythonPeer(kPeerScript));
  PairedBenchmark benchmark(std::move(options), std::cout);
  RunMakes(benchmark);
  MP_RETURN_IF_ERROR(RunAttaches(benchmark));
  MP_RETURN_IF_ERROR(RunFills(benchmark));
  MP_RETURN_IF_ERROR(RunPeers(*python, benchmark));
  return benchmark.Finish();
}

}  // namespace
}  // namespace mp

int main(int argc, char** argv) {
  return mp::testing::ExitCodeOf(mp::Main(argc, argv));
}
