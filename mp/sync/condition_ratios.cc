#include "mp/sync/condition_ratios.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <cstdint>
#include <functional>
#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/base/status_macros.h"
#include "mp/sync/condition.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"
#include "mp/testing/child.h"

#if __has_include(<boost/interprocess/sync/interprocess_condition.hpp>)
#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#define MP_HAS_BOOST_ 1
#else
#define MP_HAS_BOOST_ 0
#endif

namespace mp {
namespace {

using testing::Child;
using testing::ExitStatus;
using testing::Measure;
using testing::PairedBenchmark;
using testing::RunInChild;

constexpr int kRounds = 2000;
// CPython takes long for one if the machine has other work.
constexpr int kFewRounds = 300;

// What two processes play with: each waits until `turn` is its own, and then
// makes it the other's.
struct Table {
  int64_t turn = 0;
  FutexWord word = 0;
  pthread_mutex_t mutex;
  pthread_cond_t condition;
#if MP_HAS_BOOST_
  boost::interprocess::interprocess_mutex boost_mutex;
  boost::interprocess::interprocess_condition boost_condition;
#endif
};

Table& MakeTable() {
  void* const memory = mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) MP_CHECK_OK(absl::ResourceExhaustedError("mmap"));
  Table& table = *new (memory) Table();
  pthread_mutexattr_t mutex;
  pthread_mutexattr_init(&mutex);
  pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&table.mutex, &mutex);
  pthread_condattr_t condition;
  pthread_condattr_init(&condition);
  pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
  pthread_cond_init(&table.condition, &condition);
  return table;
}

// One turn of the player on that side, 0 or 1.
using Turn = std::function<absl::Status(int side)>;

template <typename L>
Turn Ours(Table& table, L lock) {
  Condition condition = Condition::Create(std::move(lock)).value();
  return [&table, condition](int side) mutable -> absl::Status {
    MP_RETURN_IF_ERROR(condition.Acquire());
    while (table.turn % 2 != side) MP_RETURN_IF_ERROR(condition.Wait());
    ++table.turn;
    MP_RETURN_IF_ERROR(condition.Notify());
    return condition.Release();
  };
}

Turn OfPthread(Table& table) {
  return [&table](int side) {
    pthread_mutex_lock(&table.mutex);
    while (table.turn % 2 != side) {
      pthread_cond_wait(&table.condition, &table.mutex);
    }
    ++table.turn;
    pthread_cond_signal(&table.condition);
    pthread_mutex_unlock(&table.mutex);
    return absl::OkStatus();
  };
}

#if MP_HAS_BOOST_
Turn OfBoost(Table& table) {
  return [&table](int side) {
    boost::interprocess::scoped_lock lock(table.boost_mutex);
    while (table.turn % 2 != side) table.boost_condition.wait(lock);
    ++table.turn;
    table.boost_condition.notify_one();
    return absl::OkStatus();
  };
}
#else
Turn OfBoost(Table&) {
  return [](int) { return absl::UnimplementedError("not there"); };
}
#endif

// No lock, and nothing but the word itself: the limit.
Turn OfFutex(Table& table) {
  return [&table](int side) {
    const Deadline never(absl::InfiniteDuration());
    uint32_t seen = table.word.load();
    while (seen % 2 != static_cast<uint32_t>(side)) {
      FutexWait(table.word, seen, never);
      seen = table.word.load();
    }
    table.word.store(seen + 1);
    FutexWake(table.word, 1);
    return absl::OkStatus();
  };
}

// The cores on which the players sit, or fewer if there are not so many.
cpu_set_t Cores(int first, int last) {
  cpu_set_t allowed, wanted;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  CPU_ZERO(&wanted);
  int number = 0;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed)) continue;
    if (number >= first && number <= last) CPU_SET(core, &wanted);
    ++number;
  }
  return wanted;
}

absl::Status SitOn(const cpu_set_t& cores) {
  if (CPU_COUNT(&cores) == 0) {
    return absl::UnimplementedError("there is one core only");
  }
  if (sched_setaffinity(0, sizeof(cores), &cores) == 0) return absl::OkStatus();
  return absl::UnimplementedError("no choice of cores");
}

absl::Status Play(const Turn& turn, int side, int rounds) {
  for (int i = 0; i < rounds; ++i) MP_RETURN_IF_ERROR(turn(side));
  return absl::OkStatus();
}

// Rounds of two processes, each on a core of its own or both on one.
Measure PingPong(Turn turn, bool is_one_core) {
  return [=](int runs) -> absl::StatusOr<absl::Duration> {
    const cpu_set_t all = Cores(0, CPU_SETSIZE);
    const cpu_set_t first = Cores(0, 0);
    const cpu_set_t second = is_one_core ? first : Cores(1, 1);
    if (CPU_COUNT(&second) == 0) {
      return absl::UnimplementedError("there is one core only");
    }
    Child child = RunInChild([&]() -> absl::Status {
      MP_RETURN_IF_ERROR(SitOn(second));
      return Play(turn, 1, runs + 1);
    });
    MP_RETURN_IF_ERROR(SitOn(first));
    MP_RETURN_IF_ERROR(turn(0));  // until it is there
    const absl::Time begin = absl::Now();
    MP_RETURN_IF_ERROR(Play(turn, 0, runs));
    if (child.Wait() != ExitStatus{0}) return absl::InternalError("it failed");
    const absl::Duration taken = absl::Now() - begin;
    MP_RETURN_IF_ERROR(SitOn(all));
    return taken;
  };
}

void RunPingPong(bool is_one_core, testing::ScriptPeer& python, Table& table,
                 PairedBenchmark& benchmark) {
  const std::string cores = is_one_core ? "one core" : "two cores";
  const Turn lock = Ours(table, *Lock::Create());
  const auto run = [&](const std::string& name, const Turn& ours, Measure floor,
                       double target, int rounds = kRounds) {
    benchmark.Run({.name = absl::StrCat("condition, ping-pong, ", cores, name),
                   .ours = PingPong(ours, is_one_core),
                   .floor = std::move(floor),
                   .target = target,
                   .runs = rounds});
  };
  run(" / pthread", lock, PingPong(OfPthread(table), is_one_core),
      is_one_core ? 1 / 1.2 : 1 / 0.95);
  run(", with an RLock / pthread", Ours(table, *RLock::Create()),
      PingPong(OfPthread(table), is_one_core),
      is_one_core ? 1 / 1.2 : 1 / 0.95);
  run(" / Boost interprocess_condition", lock,
      PingPong(OfBoost(table), is_one_core), 1.0);
  run(" / bare futex", lock, PingPong(OfFutex(table), is_one_core),
      is_one_core ? 1.6 : 1.2);
  run(" / CPython", lock,
      python.Does(is_one_core ? "condition_one_core" : "condition_two_cores"),
      1.0 / 3, kFewRounds);
}

}  // namespace

absl::Status RunConditionRatios(testing::ScriptPeer& python,
                                PairedBenchmark& benchmark) {
  // Before anything is forked, so that the arena is shared.
  MP_RETURN_IF_ERROR(Condition::Create().status());
  Table& table = MakeTable();
  RunPingPong(/*is_one_core=*/false, python, table, benchmark);
  RunPingPong(/*is_one_core=*/true, python, table, benchmark);
  return absl::OkStatus();
}

}  // namespace mp
