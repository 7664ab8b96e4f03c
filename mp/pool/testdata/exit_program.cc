// exit_program START_METHOD POOL WORK END
//
// Ends while it has a pool of two workers, whose pids it writes to stdout.
//
// POOL  where the pool is: local, in main(); static, in a function; global;
//       leaked, behind a pointer.
// WORK  what it does meanwhile: nothing; running, tasks that never end; full,
//       thousands of them waiting; mapping, another thread waits in Map().
// END   return, from main(); exit, by exit(3); _exit; thread, exit(3) in
//       another thread; callback, exit(3) in a callback of the pool; fork,
//       after a forked child has returned from what it had to do; kill.
//
// Exit status: 7 where END leaves the choice.

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/pool/future.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/process/init.h"
#include "mp/process/process.h"

namespace {

constexpr int kStatus = 7;

int Negative(int item) { return -item; }
int SleepForEver(int item) {
  // In one go, as a program that is ended by a thread of it need not wait.
  while (true) absl::SleepFor(absl::Milliseconds(10));
  return item;
}
void Nothing() {}

// Where what must outlive main() is kept.
mp::Future<int>& KeptFuture() {
  static auto& future = *new mp::Future<int>();
  return future;
}

absl::StatusOr<mp::Pool> global_pool = absl::UnknownError("not made");

mp::Pool& Place(const std::string& where, absl::StatusOr<mp::Pool>& local,
                mp::Pool pool) {
  if (where == "static") {
    static mp::Pool kept = std::move(pool);
    return kept;
  }
  if (where == "leaked") {
    static mp::Pool* leaked = new mp::Pool(std::move(pool));
    return *leaked;
  }
  absl::StatusOr<mp::Pool>& place = where == "global" ? global_pool : local;
  place = std::move(pool);
  return *place;
}

void StartWork(const std::string& work, mp::Pool& pool) {
  if (work == "nothing") return;
  for (int i = 0; i < (work == "full" ? 5000 : 2); ++i) {
    KeptFuture() = pool.ApplyAsync(SleepForEver, i);
  }
  if (work == "mapping") {
    std::thread([&pool] {
      pool.Map(SleepForEver, std::vector<int>(100)).status().IgnoreError();
      pause();
    }).detach();
  }
}

int End(const std::string& end, mp::Pool& pool) {
  if (end == "exit") exit(kStatus);
  if (end == "_exit") _exit(kStatus);
  if (end == "kill") raise(SIGKILL);
  if (end == "thread") {
    std::thread([] { exit(kStatus); }).detach();
    while (true) pause();
  }
  if (end == "callback") {
    // Of a task that is cancelled, or that runs.
    const auto future = pool.ApplyAsync(Negative, 1);
    future.OnDone([](const mp::Future<int>&) { exit(kStatus); });
    future.Cancel();
    while (true) pause();
  }
  if (end == "fork") {
    mp::Process child({.context = mp::StartMethod::kFork}, Nothing);
    MP_CHECK_OK(child.Start());
    MP_CHECK_OK(child.Join());
    MP_CHECK_OK(pool.Apply(Negative, 1).status());
  }
  return kStatus;
}

}  // namespace

int main(int argc, char** argv) {
  mp::Init(argc, argv);
  if (argc != 5) return 2;
  const std::string where = argv[2], work = argv[3], end = argv[4];
  auto context = mp::GetContext(argv[1]);
  MP_CHECK_OK(context.status());
  auto pool = mp::Pool::Create({.processes = 2, .context = *context});
  MP_CHECK_OK(pool.status());
  absl::StatusOr<mp::Pool> local = absl::UnknownError("not made");
  mp::Pool& placed = Place(where, local, *std::move(pool));
  for (const pid_t pid : placed.pids()) printf("%d ", pid);
  fflush(stdout);
  StartWork(work, placed);
  return End(end, placed);
}
