#include "mp/sync/internal/contention.h"

#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <new>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "mp/testing/child.h"

namespace mp::internal {
namespace {

constexpr int kMaxProcesses = 64;

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

struct Board {
  std::atomic<int> ready;
  std::atomic<int64_t> end;  // 0 as long as they are to wait
  struct alignas(64) Process {
    int64_t turns;
    int64_t longest_wait;
  } processes[kMaxProcesses];
};

absl::Status TakeTurns(Board& board, int index,
                       const std::function<bool(int)>& turns, int at_once) {
  // The first one is slower than others: it has pages to touch.
  if (!turns(1)) return absl::InternalError("a turn failed");
  ++board.ready;
  while (board.end.load() == 0) sched_yield();
  const int64_t end = board.end.load();
  Board::Process own = {};
  for (int64_t now = Now(); now < end;) {
    if (!turns(at_once)) return absl::InternalError("a turn failed");
    own.turns += at_once;
    const int64_t before = now;
    now = Now();
    own.longest_wait = std::max(own.longest_wait, now - before);
  }
  board.processes[index] = own;
  return absl::OkStatus();
}

Contention Judge(const Board& board, int processes, absl::Duration window) {
  const auto [idlest, busiest] = std::minmax_element(
      board.processes, board.processes + processes,
      [](const auto& a, const auto& b) { return a.turns < b.turns; });
  Contention all;
  int64_t turns = 0;
  for (int i = 0; i < processes; ++i) {
    const Board::Process& process = board.processes[i];
    turns += process.turns;
    all.longest_wait =
        std::max(all.longest_wait, absl::Nanoseconds(process.longest_wait));
  }
  all.per_turn = window / static_cast<double>(std::max<int64_t>(turns, 1));
  all.unfairness = static_cast<double>(busiest->turns) /
                   static_cast<double>(std::max<int64_t>(idlest->turns, 1));
  return all;
}

}  // namespace

absl::StatusOr<Contention> Contend(int processes, absl::Duration window,
                                   const std::function<bool(int)>& turns,
                                   int at_once) {
  void* const memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return absl::ResourceExhaustedError("mmap");
  const auto unmap = absl::MakeCleanup([&] { munmap(memory, sizeof(Board)); });
  Board& board = *new (memory) Board();

  std::vector<testing::Child> children;
  for (int i = 0; i < processes; ++i) {
    children.push_back(testing::RunInChild(
        [&] { return TakeTurns(board, i, turns, at_once); }));
  }
  while (board.ready < processes) usleep(100);
  board.end = Now() + absl::ToInt64Nanoseconds(window);
  for (testing::Child& child : children) {
    if (child.Wait().code != 0) return absl::InternalError("a child failed");
  }
  return Judge(board, processes, window);
}

}  // namespace mp::internal
