#include "mp/sync/signal_ratios.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <functional>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/base/status_macros.h"
#include "mp/sync/barrier.h"
#include "mp/sync/bounded_semaphore.h"
#include "mp/sync/event.h"
#include "mp/sync/internal/contention.h"
#include "mp/sync/semaphore.h"
#include "mp/testing/child.h"

#if __has_include(<boost/interprocess/sync/interprocess_semaphore.hpp>)
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <boost/interprocess/sync/named_semaphore.hpp>
#define MP_HAS_BOOST_ 1
#else
#define MP_HAS_BOOST_ 0
#endif

namespace mp {
namespace {

using internal::Contend;
using internal::Contention;
using testing::Child;
using testing::Measure;
using testing::PairedBenchmark;
using testing::RunInChild;

// What ours are compared with, where several processes see it.
struct Peers {
  alignas(64) sem_t semaphore;
  alignas(64) std::atomic<uint32_t> flag;
  alignas(64) FutexWord events[2];
  // The limit for barriers: a count, and a round that some sleep on.
  alignas(64) std::atomic<uint32_t> count;
  alignas(64) FutexWord round;
  std::atomic<uint32_t> sleepers;
  alignas(64) pthread_barrier_t barrier;
#if MP_HAS_BOOST_
  alignas(64) boost::interprocess::interprocess_semaphore boost{1};
#endif
};

Peers& MakePeers() {
  void* const memory = mmap(nullptr, sizeof(Peers), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) MP_CHECK_OK(absl::ResourceExhaustedError("mmap"));
  Peers& peers = *new (memory) Peers();
  sem_init(&peers.semaphore, /*pshared=*/1, 1);
  return peers;
}

// Does something so many times; false if that fails.
using Turns = std::function<bool(int)>;

template <typename S>
Turns Ours(S semaphore) {
  return [semaphore](int times) mutable {
    for (int i = 0; i < times; ++i) {
      if (!semaphore.Acquire().ok() || !semaphore.Release().ok()) return false;
    }
    return true;
  };
}

Turns OfSemaphore(Peers& peers) {
  return [&peers](int times) {
    for (int i = 0; i < times; ++i) {
      sem_wait(&peers.semaphore);
      sem_post(&peers.semaphore);
    }
    return true;
  };
}

#if MP_HAS_BOOST_
template <typename S>
Turns OfBoost(S& semaphore) {
  return [&semaphore](int times) {
    for (int i = 0; i < times; ++i) {
      semaphore.wait();
      semaphore.post();
    }
    return true;
  };
}

// One in /dev/shm, without a name by the time that it is used.
Turns OfBoostNamed() {
  const std::string name = absl::StrCat("mp_signal_ratios_", getpid());
  using boost::interprocess::named_semaphore;
  auto* const semaphore =
      new named_semaphore(boost::interprocess::create_only, name.c_str(), 1);
  named_semaphore::remove(name.c_str());
  return OfBoost(*semaphore);
}
Turns OfBoost(Peers& peers) { return OfBoost(peers.boost); }
#else
Turns OfBoost(Peers&) { return nullptr; }
Turns OfBoostNamed() { return nullptr; }
#endif

Measure Alone(Turns turns) {
  return [turns](int runs) -> absl::StatusOr<absl::Duration> {
    if (turns == nullptr) return absl::UnimplementedError("not there");
    const absl::Time begin = absl::Now();
    if (!turns(runs)) return absl::InternalError("a turn failed");
    return absl::Now() - begin;
  };
}

Measure Together(int processes, Turns turns) {
  return [=](int runs) -> absl::StatusOr<absl::Duration> {
    if (turns == nullptr) return absl::UnimplementedError("not there");
    MP_ASSIGN_OR_RETURN(const Contention all,
                        Contend(processes, absl::Milliseconds(60), turns));
    return all.per_turn * runs;
  };
}

void RunSemaphores(testing::ScriptPeer& python, Peers& peers,
                   PairedBenchmark& benchmark) {
  const int kRuns = 200'000;
  const Turns plain = Ours(*Semaphore::Create());
  const Turns bounded = Ours(*BoundedSemaphore::Create());
  const auto run = [&](const std::string& name, Measure ours, Measure floor,
                       double target, int runs) {
    benchmark.Run({.name = name,
                   .ours = std::move(ours),
                   .floor = std::move(floor),
                   .target = target,
                   .runs = runs});
  };
  const Turns peer = OfSemaphore(peers);
  run("semaphore / sem_t", Alone(plain), Alone(peer), 1.0, kRuns);
  run("bounded semaphore / sem_t", Alone(bounded), Alone(peer), 1.0, kRuns);
  run("semaphore / Boost interprocess_semaphore", Alone(plain),
      Alone(OfBoost(peers)), 1.5, kRuns);
  run("semaphore / Boost named_semaphore", Alone(plain), Alone(OfBoostNamed()),
      1.0, kRuns);
  run("semaphore / CPython", Alone(plain), python.Does("semaphore"), 1.0 / 3,
      kRuns);
  run("semaphore / sem_t, 2 processes", Together(2, plain), Together(2, peer),
      1.0, 1);
  run("semaphore / sem_t, 8 processes", Together(8, plain), Together(8, peer),
      1.0, 1);
  for (const int processes : {2, 8}) {
    run(absl::StrCat("semaphore / Boost interprocess_semaphore, ", processes,
                     " processes"),
        Together(processes, plain), Together(processes, OfBoost(peers)), 1.0,
        1);
  }
}

// Two events that let two processes go on in turn.
struct EventPair {
  std::function<void(int)> set;
  std::function<void(int)> wait;  // and clear
};

EventPair OfFutex(Peers& peers) {
  const auto wait = [&peers](int i) {
    while (peers.events[i].load() == 0) {
      FutexWait(peers.events[i], 0, Deadline(absl::InfiniteDuration()));
    }
    peers.events[i].store(0);
  };
  const auto set = [&peers](int i) {
    peers.events[i].store(1);
    FutexWake(peers.events[i], INT_MAX);
  };
  return {set, wait};
}

EventPair OurEvents() {
  std::vector<Event> events = {*Event::Create(), *Event::Create()};
  const auto wait = [events](int i) mutable {
    MP_CHECK_OK(events[i].Wait());
    MP_CHECK_OK(events[i].Clear());
  };
  const auto set = [events](int i) mutable { MP_CHECK_OK(events[i].Set()); };
  return {set, wait};
}

// Has this process, or all that it forks, run on one core only.
class OnOneCore {
 public:
  explicit OnOneCore(bool wanted) {
    sched_getaffinity(0, sizeof(before_), &before_);
    if (!wanted) return;
    int core = 0;
    while (!CPU_ISSET(core, &before_)) ++core;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    sched_setaffinity(0, sizeof(one), &one);
  }
  ~OnOneCore() { sched_setaffinity(0, sizeof(before_), &before_); }

 private:
  cpu_set_t before_;
};

// There and back.
Measure RoundTrips(EventPair pair, bool is_one_core) {
  return [=](int runs) -> absl::StatusOr<absl::Duration> {
    const OnOneCore here(is_one_core);
    Child child = RunInChild([&] {
      for (int i = 0; i <= runs; ++i) {
        pair.wait(0);
        pair.set(1);
      }
      return absl::OkStatus();
    });
    pair.set(0);
    pair.wait(1);
    const absl::Time begin = absl::Now();
    for (int i = 0; i < runs; ++i) {
      pair.set(0);
      pair.wait(1);
    }
    const absl::Duration taken = absl::Now() - begin;
    child.Wait();
    return taken;
  };
}

void RunEvents(testing::ScriptPeer& python, Peers& peers,
               PairedBenchmark& benchmark) {
  Event event = *Event::Create();
  const auto is_set = [event](int times) {
    bool any = false;
    for (int i = 0; i < times; ++i) any |= event.IsSet();
    return !any;
  };
  const auto load = [&peers](int times) {
    bool any = false;
    for (int i = 0; i < times; ++i) any |= peers.flag.load() != 0;
    return !any;
  };
  benchmark.Run({.name = "event, IsSet / a load",
                 .ours = Alone(is_set),
                 .floor = Alone(load),
                 .target = 4,  // 2 ns where a load takes half of one
                 .runs = 1'000'000});
  benchmark.Run({.name = "event, IsSet / CPython",
                 .ours = Alone(is_set),
                 .floor = python.Does("event_is_set"),
                 .target = 1.0 / 100,
                 .runs = 20'000});
  for (const bool is_one_core : {true, false}) {
    const std::string where = is_one_core ? ", one core" : ", two cores";
    const Measure ours = RoundTrips(OurEvents(), is_one_core);
    benchmark.Run({.name = absl::StrCat("event, wake / futex", where),
                   .ours = ours,
                   .floor = RoundTrips(OfFutex(peers), is_one_core),
                   .target = 1.15,
                   .runs = 2000});
    benchmark.Run({.name = absl::StrCat("event, wake / CPython", where),
                   .ours = ours,
                   .floor = python.Does(is_one_core ? "event_one_core"
                                                    : "event_two_cores"),
                   .target = 1.0 / 5,
                   .runs = 1000});
    // What is to be had on this machine.
    benchmark.Run({.name = absl::StrCat("limit: futex / CPython Event", where),
                   .ours = RoundTrips(OfFutex(peers), is_one_core),
                   .floor = python.Does(is_one_core ? "event_one_core"
                                                    : "event_two_cores"),
                   .target = 1.0 / 5,
                   .runs = 1000});
  }
}

// Nobody who dies is noticed, and it cannot break: the limit.
void PassLimit(Peers& peers, uint32_t parties) {
  const uint32_t round = peers.round.load();
  if (peers.count.fetch_add(1) + 1 == parties) {
    peers.count.store(0);
    peers.round.store(round + 1);
    if (peers.sleepers.load() != 0) FutexWake(peers.round, INT_MAX);
    return;
  }
  for (int i = 0; i < 50; ++i) {
    if (peers.round.load() != round) return;
    if (i >= 20) sched_yield();
  }
  peers.sleepers.fetch_add(1);
  while (peers.round.load() == round) {
    FutexWait(peers.round, round, Deadline(absl::InfiniteDuration()));
  }
  peers.sleepers.fetch_sub(1);
}

// So many rounds of a barrier, of which `pass` is one for one party.
Measure Rounds(int parties, std::function<void()> pass) {
  return [=](int runs) -> absl::StatusOr<absl::Duration> {
    std::vector<Child> others;
    const auto all = [&] {
      for (int i = 0; i <= runs; ++i) pass();
      return absl::OkStatus();
    };
    for (int i = 1; i < parties; ++i) others.push_back(RunInChild(all));
    pass();
    const absl::Time begin = absl::Now();
    for (int i = 0; i < runs; ++i) pass();
    const absl::Duration taken = absl::Now() - begin;
    for (Child& other : others) other.Wait();
    return taken;
  };
}

// A sample's parties are other processes than the last one's, which ended
// without a word.
Measure OurRounds(int parties) {
  Barrier barrier =
      *Barrier::Create({.parties = static_cast<uint32_t>(parties)});
  const Measure rounds = Rounds(
      parties, [barrier]() mutable { MP_CHECK_OK(barrier.Wait().status()); });
  return [=](int runs) mutable -> absl::StatusOr<absl::Duration> {
    MP_RETURN_IF_ERROR(Barrier(barrier).Reset());
    return rounds(runs);
  };
}

Measure PthreadRounds(Peers& peers, int parties) {
  const Measure rounds =
      Rounds(parties, [&peers] { pthread_barrier_wait(&peers.barrier); });
  return [&peers, parties, rounds](int runs) {
    pthread_barrierattr_t shared;
    pthread_barrierattr_init(&shared);
    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&peers.barrier, &shared, parties);
    const auto taken = rounds(runs);
    pthread_barrier_destroy(&peers.barrier);
    return taken;
  };
}

void RunBarriers(int parties, testing::ScriptPeer& python, Peers& peers,
                 PairedBenchmark& benchmark) {
  const Measure ours = OurRounds(parties);
  const auto run = [&](const char* name, Measure floor, double target,
                       int runs) {
    benchmark.Run({.name = absl::StrCat(name, ", ", parties, " processes"),
                   .ours = ours,
                   .floor = std::move(floor),
                   .target = target,
                   .runs = runs});
  };
  run("barrier / spin, yield, futex",
      Rounds(parties, [&peers, parties] { PassLimit(peers, parties); }),
      1 / 0.8, 5000);
  run("barrier / pthread_barrier", PthreadRounds(peers, parties), 1 / 1.5,
      5000);
  run("barrier / CPython", python.Does(absl::StrCat("barrier_", parties)),
      1.0 / 25, 500);
}

}  // namespace

absl::Status RunSignalRatios(testing::ScriptPeer& python,
                             PairedBenchmark& benchmark) {
  // Before anything is forked, so that the arena is shared.
  MP_ASSIGN_OR_RETURN(BoundedSemaphore first, BoundedSemaphore::Create());
  MP_RETURN_IF_ERROR(first.Acquire());
  Peers& peers = MakePeers();
  RunSemaphores(python, peers, benchmark);
  RunEvents(python, peers, benchmark);
  RunBarriers(2, python, peers, benchmark);
  RunBarriers(4, python, peers, benchmark);
  return absl::OkStatus();
}

}  // namespace mp
