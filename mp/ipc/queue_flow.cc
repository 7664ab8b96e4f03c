#include "mp/ipc/queue_flow.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/errno_status.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/queue_carriers.h"
#include "mp/testing/child.h"
#include "mp/testing/paired_benchmark.h"

namespace mp {
namespace {

using testing::Child;
using testing::Measure;
using testing::RunInChild;

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

// Where the processes of a measurement meet.
struct Board {
  std::atomic<int> ready;
  std::atomic<bool> go;
  std::atomic<int64_t> last_end;

  void Await() {
    ++ready;
    while (!go.load()) sched_yield();
  }

  void End() {
    const int64_t now = Now();
    int64_t last = last_end.load();
    while (last < now && !last_end.compare_exchange_weak(last, now)) {
    }
  }
};

absl::StatusOr<std::shared_ptr<Board>> MakeBoard() {
  void* const memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return ErrnoStatus(errno, "mmap");
  return std::shared_ptr<Board>(static_cast<Board*>(memory), [](Board* board) {
    munmap(board, sizeof(Board));
  });
}

// Binds this process to the `nth` of the cores that it may use.
void Bind(Placement placement, int nth) {
  cpu_set_t allowed;
  if (placement == Placement::kAnywhere ||
      sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return;
  }
  if (placement == Placement::kOneCore) nth = 0;
  nth %= std::max(CPU_COUNT(&allowed), 1);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || nth-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
    return;
  }
}

absl::Status Do(int times, absl::FunctionRef<bool()> once) {
  for (int i = 0; i < times; ++i) {
    if (!once()) return absl::InternalError("a message was not carried");
  }
  return absl::OkStatus();
}

// The share of the `index`th of `parts` in `all`.
int Share(int all, int parts, int index) {
  return all / parts + (index < all % parts ? 1 : 0);
}

absl::StatusOr<absl::Duration> RunFlow(const Flow& flow, const Carrier& carrier,
                                       int messages) {
  MP_ASSIGN_OR_RETURN(const std::shared_ptr<Board> board, MakeBoard());
  std::vector<Child> children;
  const auto start = [&](int number, int core,
                         const std::function<bool(std::string&)>& once) {
    children.push_back(RunInChild([&]() -> absl::Status {
      Bind(flow.placement, core);
      std::string message(flow.message_bytes, 'x');
      board->Await();
      MP_RETURN_IF_ERROR(Do(number, [&] { return once(message); }));
      board->End();
      return absl::OkStatus();
    }));
  };
  for (int i = 0; i < flow.producers; ++i) {
    start(Share(messages, flow.producers, i), i,
          [&](std::string& message) { return carrier.put(message); });
  }
  for (int i = 0; i < flow.consumers; ++i) {
    start(Share(messages, flow.consumers, i), i + 1, carrier.get);
  }
  while (board->ready < flow.producers + flow.consumers) sched_yield();
  const int64_t begin = Now();
  board->go = true;
  bool all_well = true;
  for (Child& child : children) all_well &= child.Wait().code == 0;
  if (!all_well) return absl::InternalError("a process failed");
  return absl::Nanoseconds(board->last_end - begin);
}

absl::StatusOr<absl::Duration> RunRoundTrips(size_t message_bytes,
                                             Placement placement,
                                             const Carrier& to,
                                             const Carrier& from, int runs) {
  Child echo = RunInChild([&] {
    Bind(placement, 1);
    std::string message(message_bytes, 'x');
    return Do(runs + 1, [&] { return to.get(message) && from.put(message); });
  });
  cpu_set_t before;
  sched_getaffinity(0, sizeof(before), &before);
  const absl::Cleanup unbind = [&] {
    sched_setaffinity(0, sizeof(before), &before);
  };
  Bind(placement, 0);
  std::string message(message_bytes, 'x');
  const auto there_and_back = [&] {
    return to.put(message) && from.get(message);
  };
  MP_RETURN_IF_ERROR(Do(1, there_and_back));
  const int64_t begin = Now();
  MP_RETURN_IF_ERROR(Do(runs, there_and_back));
  const absl::Duration passed = absl::Nanoseconds(Now() - begin);
  if (echo.Wait().code != 0) return absl::InternalError("the echo failed");
  return passed;
}

}  // namespace

Measure FlowTime(const Flow& flow, MakeCarrier make) {
  // Made once, so that its memory is there after the warm-up.
  auto carrier = std::make_shared<std::optional<Carrier>>();
  return [=](int runs) -> absl::StatusOr<absl::Duration> {
    if (!carrier->has_value()) {
      MP_ASSIGN_OR_RETURN(*carrier, make(flow.message_bytes));
    }
    return RunFlow(flow, **carrier, runs);
  };
}

Measure RoundTripTime(size_t message_bytes, Placement placement,
                      MakeCarrier make) {
  return [=](int runs) -> absl::StatusOr<absl::Duration> {
    MP_ASSIGN_OR_RETURN(const Carrier to, make(message_bytes));
    MP_ASSIGN_OR_RETURN(const Carrier from, make(message_bytes));
    return RunRoundTrips(message_bytes, placement, to, from, runs);
  };
}

Measure CopyTime(size_t message_bytes) {
  return [=](int runs) -> absl::StatusOr<absl::Duration> {
    MP_ASSIGN_OR_RETURN(const Carrier carrier, CopyCarrier(message_bytes));
    std::string message(message_bytes, 'x');
    std::string got(message_bytes, 'y');
    const int64_t begin = Now();
    MP_RETURN_IF_ERROR(
        Do(runs, [&] { return carrier.put(message) && carrier.get(got); }));
    return absl::Nanoseconds(Now() - begin);
  };
}

}  // namespace mp
