#include "mp/testing/crash_monkey.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"

namespace mp::testing {
namespace {

constexpr int kMaxProcesses = 64;

// After the last kill, each has to do so many turns: the first may have been
// all but done before.
constexpr uint64_t kTurnsAfterwards = 2;

constexpr absl::Duration kLook = absl::Milliseconds(2);

void* MapShared(size_t size) {
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return memory;
}

bool HasEnded(const Child& child) {
  siginfo_t info = {};
  return waitid(P_PID, child.pid(), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
         info.si_pid != 0;
}

}  // namespace

struct CrashMonkey::Shared {
  std::atomic<bool> is_over = false;
  MonkeyTurns members[kMaxProcesses];
};

bool MonkeyMember::GoesOn() {
  turns_.turns.fetch_add(1, std::memory_order_relaxed);
  return !is_over_.load(std::memory_order_relaxed);
}

CrashMonkey::CrashMonkey(Options options)
    : options_(std::move(options)),
      shared_(*new (MapShared(sizeof(Shared))) Shared),
      random_(options_.seed) {
  if (options_.processes < 1 || options_.processes > kMaxProcesses) {
    std::abort();
  }
}

CrashMonkey::~CrashMonkey() { munmap(&shared_, sizeof(Shared)); }

absl::Status CrashMonkey::Run(const Body& body) {
  body_ = &body;
  for (int i = 0; i < options_.processes; ++i) members_.push_back(Start(i));
  const absl::Status status = KillAndSee();
  members_.clear();
  return status;
}

absl::Status CrashMonkey::KillAndSee() {
  while (kills_ < options_.kills) {
    absl::SleepFor(RandomPause());
    MP_RETURN_IF_ERROR(KillOne());
  }
  MP_RETURN_IF_ERROR(AwaitTurns());
  shared_.is_over = true;
  return AwaitEnds();
}

uint64_t CrashMonkey::turns() const {
  uint64_t sum = 0;
  for (int i = 0; i < options_.processes; ++i) sum += shared_.members[i].turns;
  return sum;
}

Child CrashMonkey::Start(int index) const {
  return RunInChild([&] {
    MonkeyMember member(index, shared_.members[index], shared_.is_over);
    return (*body_)(member);
  });
}

absl::Status CrashMonkey::KillOne() {
  MP_RETURN_IF_ERROR(CheckTheyLive());
  const int index = static_cast<int>(Random(options_.processes));
  Child& member = members_[index];
  if (Random(8) == 0) {
    member.Kill(SIGSTOP);
    absl::SleepFor(4 * RandomPause());
    if (Random(2) == 0) {
      member.Kill(SIGCONT);
      return absl::OkStatus();
    }
  }
  Child victim = std::move(member);
  victim.Kill(SIGKILL);
  ++kills_;
  if (Random(2) == 0) victim.Wait();
  members_[index] = Start(index);
  return absl::OkStatus();  // A victim that was a zombie until now goes.
}

absl::Status CrashMonkey::CheckTheyLive() {
  for (int i = 0; i < options_.processes; ++i) {
    if (HasEnded(members_[i])) return UnwantedEnd(i);
  }
  return absl::OkStatus();
}

absl::Status CrashMonkey::UnwantedEnd(int index) {
  std::ostringstream end;
  end << members_[index].Wait() << ", and not by the monkey";
  return Error(absl::StatusCode::kInternal, index, end.str());
}

absl::Status CrashMonkey::AwaitTurns() {
  std::vector<uint64_t> wanted;
  for (const MonkeyTurns& member : shared_.members) {
    wanted.push_back(member.turns + kTurnsAfterwards);
  }
  const Deadline deadline(options_.patience);
  for (int i = 0; i < options_.processes; ++i) {
    while (shared_.members[i].turns < wanted[i]) {
      MP_RETURN_IF_ERROR(CheckTheyLive());
      if (deadline.Expired()) {
        return Error(absl::StatusCode::kDeadlineExceeded, i,
                     absl::StrCat("hangs: no two turns in ",
                                  absl::FormatDuration(options_.patience),
                                  " after the last kill"));
      }
      absl::SleepFor(kLook);
    }
  }
  return absl::OkStatus();
}

absl::Status CrashMonkey::AwaitEnds() {
  const Deadline deadline(options_.patience);
  for (int i = 0; i < options_.processes; ++i) {
    while (!HasEnded(members_[i])) {
      if (deadline.Expired()) {
        return Error(absl::StatusCode::kDeadlineExceeded, i,
                     "hangs: it did not end when it was told to");
      }
      absl::SleepFor(kLook);
    }
    if (members_[i].Wait() != ExitStatus{0}) return UnwantedEnd(i);
  }
  return absl::OkStatus();
}

absl::Status CrashMonkey::Error(absl::StatusCode code, int index,
                                absl::string_view what) const {
  return absl::Status(
      code, absl::StrCat("CrashMonkey: process ", index, " ", what, " (",
                         kills_, " kills, ", turns(),
                         " turns; MP_TEST_SEED=", options_.seed, ")"));
}

uint64_t CrashMonkey::Random(uint64_t below) { return random_() % below; }

absl::Duration CrashMonkey::RandomPause() {
  return options_.pause * (Random(1000) / 1000.0);
}

}  // namespace mp::testing
