#include "mp/sync/lock_ratios.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <new>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/contention.h"
#include "mp/sync/internal/futex_mutex.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"

#if __has_include(<boost/interprocess/sync/interprocess_mutex.hpp>)
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/named_mutex.hpp>
#define MP_HAS_BOOST_ 1
#else
#define MP_HAS_BOOST_ 0
#endif

namespace mp {
namespace {

using internal::Contend;
using internal::Contention;
using internal::FutexMutex;
using testing::Measure;
using testing::PairedBenchmark;

constexpr absl::Duration kWindow = absl::Milliseconds(60);

// Takes and gives back a lock so many times; false if that fails.
using Turns = std::function<bool(int)>;

// What ours are compared with, where several processes see it.
struct Peers {
  FutexMutex futex;
  alignas(64) pthread_mutex_t normal;
  alignas(64) pthread_mutex_t robust;
  alignas(64) sem_t semaphore;
#if MP_HAS_BOOST_
  alignas(64) boost::interprocess::interprocess_mutex boost;
#endif
};

Peers& MakePeers() {
  void* const memory = mmap(nullptr, sizeof(Peers), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) MP_CHECK_OK(absl::ResourceExhaustedError("mmap"));
  Peers& peers = *new (memory) Peers();
  pthread_mutexattr_t shared;
  pthread_mutexattr_init(&shared);
  pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&peers.normal, &shared);
  pthread_mutexattr_setrobust(&shared, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&peers.robust, &shared);
  sem_init(&peers.semaphore, /*pshared=*/1, 1);
  return peers;
}

template <typename Acquire, typename Release>
Turns Cycle(Acquire acquire, Release release) {
  return [=](int times) mutable {
    for (int i = 0; i < times; ++i) {
      if (!acquire() || !release()) return false;
    }
    return true;
  };
}

template <typename L>
Turns Ours(L lock) {
  return Cycle([lock]() mutable { return lock.Acquire().ok(); },
               [lock]() mutable { return lock.Release().ok(); });
}

Turns OfFutex(Peers& peers) {
  FutexMutex* const mutex = &peers.futex;
  return Cycle([=] { return mutex->Lock(), true; },
               [=] { return mutex->Unlock(), true; });
}

Turns OfPthread(pthread_mutex_t& mutex) {
  pthread_mutex_t* const lock = &mutex;
  return Cycle([=] { return pthread_mutex_lock(lock) == 0; },
               [=] { return pthread_mutex_unlock(lock) == 0; });
}

Turns OfSemaphore(Peers& peers) {
  sem_t* const semaphore = &peers.semaphore;
  return Cycle([=] { return sem_wait(semaphore) == 0; },
               [=] { return sem_post(semaphore) == 0; });
}

#if MP_HAS_BOOST_
Turns OfBoost(Peers& peers) {
  auto* const mutex = &peers.boost;
  return Cycle([=] { return mutex->lock(), true; },
               [=] { return mutex->unlock(), true; });
}

// One in /dev/shm, without a name by the time that it is used.
Turns OfBoostNamed() {
  const std::string name = absl::StrCat("mp_lock_ratios_", getpid());
  using boost::interprocess::named_mutex;
  auto* const mutex =
      new named_mutex(boost::interprocess::create_only, name.c_str());
  named_mutex::remove(name.c_str());
  return Cycle([=] { return mutex->lock(), true; },
               [=] { return mutex->unlock(), true; });
}
#else
Turns OfBoost(Peers&) { return nullptr; }
Turns OfBoostNamed() { return nullptr; }
#endif

// In this process alone.
Measure Alone(Turns turns) {
  return
      [turns = std::move(turns)](int runs) -> absl::StatusOr<absl::Duration> {
        if (turns == nullptr) return absl::UnimplementedError("not there");
        const absl::Time begin = absl::Now();
        if (!turns(runs)) return absl::InternalError("a lock failed");
        return absl::Now() - begin;
      };
}

// What of several processes that do it at once `part` says, for `runs`.
Measure Together(int processes, Turns turns,
                 std::function<absl::Duration(const Contention&)> part,
                 int at_once = 16) {
  return [=](int runs) -> absl::StatusOr<absl::Duration> {
    if (turns == nullptr) return absl::UnimplementedError("not there");
    MP_ASSIGN_OR_RETURN(const Contention all,
                        Contend(processes, kWindow, turns, at_once));
    return part(all) * runs;
  };
}

Measure Throughput(int processes, Turns turns) {
  return Together(processes, std::move(turns),
                  [](const Contention& all) { return all.per_turn; });
}

// A limit instead of something to compare with.
Measure Limit(absl::Duration limit) {
  return [limit](int runs) -> absl::StatusOr<absl::Duration> {
    return limit * runs;
  };
}

void RunUncontended(testing::ScriptPeer& python, Peers& peers,
                    PairedBenchmark& benchmark) {
  const int kRuns = 200'000;
  const Measure ours = Alone(Ours(*Lock::Create()));
  const auto run = [&](const std::string& name, Measure floor, double target,
                       Measure lock) {
    benchmark.Run({.name = name,
                   .ours = lock,
                   .floor = std::move(floor),
                   .target = target,
                   .runs = kRuns});
  };
  run("lock / pthread robust", Alone(OfPthread(peers.robust)), 1.0, ours);
  run("lock / futex mutex", Alone(OfFutex(peers)), 1.7, ours);
  run("lock / pthread", Alone(OfPthread(peers.normal)), 1.3, ours);
  run("lock / sem_t", Alone(OfSemaphore(peers)), 1.0, ours);
  run("lock / Boost interprocess_mutex", Alone(OfBoost(peers)), 1.7, ours);
  run("lock / Boost named_mutex", Alone(OfBoostNamed()), 1.0, ours);
  run("lock / CPython Lock", python.Does("lock"), 1.0 / 3, ours);
  const Measure rlock = Alone(Ours(*RLock::Create()));
  run("rlock / pthread robust", Alone(OfPthread(peers.robust)), 1.3, rlock);
  run("rlock / CPython RLock", python.Does("rlock"), 1.0 / 3, rlock);
}

void RunContended(int processes, testing::ScriptPeer& python, Peers& peers,
                  PairedBenchmark& benchmark) {
  const std::string of = absl::StrCat(", ", processes, " processes");
  const Lock lock = *Lock::Create();
  const Measure ours = Throughput(processes, Ours(lock));
  const auto run = [&](const std::string& name, Measure floor, double target) {
    benchmark.Run({.name = absl::StrCat(name, of),
                   .ours = ours,
                   .floor = std::move(floor),
                   .target = target});
  };
  run("lock / futex mutex", Throughput(processes, OfFutex(peers)), 1 / 0.7);
  run("lock / pthread robust", Throughput(processes, OfPthread(peers.robust)),
      1.0);
  run("lock / sem_t", Throughput(processes, OfSemaphore(peers)), 1.0);
  run("lock / Boost interprocess_mutex", Throughput(processes, OfBoost(peers)),
      1 / 0.7);
  run("lock / Boost named_mutex", Throughput(processes, OfBoostNamed()), 1.0);
  run("lock / CPython Lock", python.Does(absl::StrCat("lock_", processes)),
      1.0 / 8);
  // What is to be had on this machine: nobody's death, and no order.
  benchmark.Run({.name = absl::StrCat("limit: futex mutex / CPython Lock", of),
                 .ours = Throughput(processes, OfFutex(peers)),
                 .floor = python.Does(absl::StrCat("lock_", processes)),
                 .target = 1.0 / 8});
  benchmark.Run({.name = absl::StrCat("lock, longest wait / 10 ms + alone", of),
                 .ours = Together(
                     processes, Ours(lock),
                     [](const Contention& all) { return all.longest_wait; }, 1),
                 // Other work on the machine takes its part.
                 .floor = Together(
                     1, Ours(lock),
                     [](const Contention& alone) {
                       return absl::Milliseconds(10) + alone.longest_wait;
                     },
                     1)});
  // As seconds, since the table has no other unit.
  benchmark.Run({.name = absl::StrCat("lock, busiest / idlest, of 4", of),
                 .ours = Together(processes, Ours(lock),
                                  [](const Contention& all) {
                                    return absl::Seconds(all.unfairness);
                                  }),
                 .floor = Limit(absl::Seconds(4))});
}

}  // namespace

absl::Status RunLockRatios(testing::ScriptPeer& python,
                           PairedBenchmark& benchmark) {
  // Before anything is forked, so that the arena is shared.
  MP_ASSIGN_OR_RETURN(Lock lock, Lock::Create());
  MP_RETURN_IF_ERROR(lock.Acquire());
  MP_RETURN_IF_ERROR(lock.Release());
  Peers& peers = MakePeers();
  RunUncontended(python, peers, benchmark);
  RunContended(2, python, peers, benchmark);
  RunContended(8, python, peers, benchmark);
  return absl::OkStatus();
}

}  // namespace mp
