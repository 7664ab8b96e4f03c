#include "mp/testing/step_killer.h"

#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"
#include "mp/testing/test_scale.h"
#include "mp/testing/tracee.h"

namespace mp::testing {
namespace {

// How often it is worth while to be killed at the same instruction: a loop does
// not do anything new at each turn.
constexpr int kOften = 8;

// From how many instructions before a point one may go step by step.
constexpr int64_t kFewSteps = 64;

}  // namespace

// Which instructions a child executed of the region, one after the other.
class StepKiller::Trace {
 public:
  // An instruction: where it lies, and the how-manieth time it is come to since
  // the region began.
  struct Visit {
    uint64_t address;
    int number;
  };

  // The first one, at which the region begins, has not been come to.
  void Add(uint64_t address) {
    const int number = visits_.empty() ? 0 : counts_[address] + 1;
    counts_[address] = number;
    visits_.push_back({address, number});
  }

  const Visit& At(int64_t instructions) const { return visits_[instructions]; }

  // All instructions, but for those that were come to more often.
  std::vector<int64_t> AllBut(int often) const {
    std::vector<int64_t> all;
    for (int64_t i = 0; i < std::ssize(visits_); ++i) {
      if (visits_[i].number <= often) all.push_back(i);
    }
    return all;
  }

  // Of the instructions up to this one, and not much before it, the one that is
  // soonest got to.
  int64_t RarestBefore(int64_t instructions) const {
    const auto last = std::min<int64_t>(instructions, std::ssize(visits_) - 1);
    int64_t rarest = last;
    for (int64_t i = last; i >= 0 && i > last - kFewSteps; --i) {
      if (visits_[i].number < visits_[rarest].number) rarest = i;
    }
    return rarest;
  }

 private:
  std::vector<Visit> visits_;
  absl::flat_hash_map<uint64_t, int> counts_;
};

// One child on its way through the region.
class StepKiller::Run {
 public:
  static absl::StatusOr<Run> ToRegion(const StepKiller& killer) {
    MP_ASSIGN_OR_RETURN(Tracee tracee,
                        Tracee::Start(
                            [&killer]() -> absl::Status {
                              MP_RETURN_IF_ERROR(killer.setup_());
                              Tracee::Mark();
                              const absl::Status status = killer.region_();
                              Tracee::Mark();
                              return status;
                            },
                            killer.options_.patience));
    Run run(std::move(tracee), killer.options_);
    MP_RETURN_IF_ERROR(run.Go(Tracee::kToMark, [] {}).status());
    return run;
  }

  absl::Status Step(int64_t instructions) {
    while (killed_.instructions < instructions && !killed_.finished) {
      MP_RETURN_IF_ERROR(GoOn(Tracee::kOneInstruction, kNever));
    }
    return absl::OkStatus();
  }

  // Steps to the end, and notes on the way which instructions those were.
  absl::Status Note(Trace& trace) {
    while (!killed_.finished) {
      MP_ASSIGN_OR_RETURN(const uint64_t address, tracee_.Address());
      trace.Add(address);
      MP_RETURN_IF_ERROR(GoOn(Tracee::kOneInstruction, kNever));
    }
    return absl::OkStatus();
  }

  // Goes to where `trace` was after that many instructions, not step by step.
  absl::Status Jump(const Trace& trace, int64_t instructions) {
    const Trace::Visit visit = trace.At(instructions);
    for (int i = 0; i < visit.number && !killed_.finished; ++i) {
      MP_ASSIGN_OR_RETURN(const Tracee::Stop stop,
                          Checked(tracee_.GoTo(visit.address, [&] {
                            ++killed_.blocked;
                            options_.on_blocked();
                          })));
      killed_.finished = stop == Tracee::Stop::kMark;
    }
    killed_.instructions = instructions;
    return absl::OkStatus();
  }

  absl::Status ToSleep(int nth) {
    while (killed_.blocked < nth && !killed_.finished) {
      MP_RETURN_IF_ERROR(GoOn(Tracee::kToSystemCall, nth));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Killed> Kill() {
    killed_.pid = tracee_.child().pid();
    tracee_.child().Kill(SIGKILL);
    return WithEnd(ExitStatus{-SIGKILL});
  }

  absl::StatusOr<Killed> End() {
    MP_RETURN_IF_ERROR(tracee_.Go(Tracee::kToMark, [] {}).status());
    return WithEnd(ExitStatus{0});
  }

 private:
  static constexpr int kNever = 0;

  Run(Tracee tracee, const Options& options)
      : tracee_(std::move(tracee)), options_(options) {}

  absl::StatusOr<Tracee::Stop> Go(Tracee::How how,
                                  const std::function<void()>& on_asleep) {
    return Checked(tracee_.Go(how, on_asleep));
  }

  absl::StatusOr<Tracee::Stop> Checked(absl::StatusOr<Tracee::Stop> stop) {
    if (stop.ok() && *stop == Tracee::Stop::kEnded && !is_killed_) {
      return UnwantedEnd();
    }
    return stop;
  }

  // Goes on until the next instruction or system call. If that is the
  // `kill_at`-th in which the child sleeps, kills it there.
  absl::Status GoOn(Tracee::How how, int kill_at) {
    const auto on_asleep = [&] {
      if (++killed_.blocked == kill_at) {
        is_killed_ = true;
        tracee_.child().Kill(SIGKILL);
      } else {
        options_.on_blocked();
      }
    };
    MP_ASSIGN_OR_RETURN(const Tracee::Stop stop, Go(how, on_asleep));
    killed_.finished = stop == Tracee::Stop::kMark;
    if (stop == Tracee::Stop::kStepped && how == Tracee::kOneInstruction) {
      ++killed_.instructions;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Killed> WithEnd(ExitStatus wanted) {
    if (tracee_.child().Wait() != wanted) return UnwantedEnd();
    return killed_;
  }

  absl::Status UnwantedEnd() {
    std::ostringstream text;
    text << "StepKiller: the child " << tracee_.child().Wait() << " after "
         << killed_.instructions << " instructions of the region";
    return absl::InternalError(text.str());
  }

  Tracee tracee_;
  const Options& options_;
  Killed killed_;
  bool is_killed_ = false;
};

StepKiller::StepKiller(Body setup, Body region)
    : StepKiller(std::move(setup), std::move(region), Options()) {}

absl::StatusOr<int64_t> StepKiller::Count() {
  MP_ASSIGN_OR_RETURN(Run run, Run::ToRegion(*this));
  auto trace = std::make_shared<Trace>();
  MP_RETURN_IF_ERROR(run.Note(*trace));
  MP_ASSIGN_OR_RETURN(const Killed ended, run.End());
  trace_ = std::move(trace);
  return ended.instructions;
}

absl::StatusOr<std::vector<int64_t>> StepKiller::SomePoints(int at_most) {
  MP_ASSIGN_OR_RETURN(const int64_t count, Count());
  const std::vector<int64_t> all = trace_->AllBut(kOften);
  const int64_t stride = IsFullTest() ? 1 : std::ssize(all) / at_most + 1;
  std::vector<int64_t> points;
  for (int64_t i = TestSeed() % stride; i < std::ssize(all); i += stride) {
    points.push_back(all[i]);
  }
  std::cout << "StepKiller: to be killed at " << points.size() << " of "
            << all.size() << " points in " << count << " instructions\n";
  return points;
}

absl::StatusOr<Killed> StepKiller::KillAt(int64_t instructions) {
  MP_ASSIGN_OR_RETURN(Run run, Run::ToRegion(*this));
  if (trace_ != nullptr) {
    MP_RETURN_IF_ERROR(run.Jump(*trace_, trace_->RarestBefore(instructions)));
  }
  MP_RETURN_IF_ERROR(run.Step(instructions));
  return run.Kill();
}

absl::StatusOr<Killed> StepKiller::KillBlocked(int nth) {
  MP_ASSIGN_OR_RETURN(Run run, Run::ToRegion(*this));
  MP_RETURN_IF_ERROR(run.ToSleep(nth));
  return run.Kill();
}

absl::Status PtraceAllowed() {
  if (kAddressSanitizer || kThreadSanitizer) {
    return absl::UnimplementedError(
        "StepKiller: too slow under a sanitizer to see what waits");
  }
  StepKiller nothing([] { return absl::OkStatus(); },
                     [] { return absl::OkStatus(); });
  return nothing.Count().status();
}

}  // namespace mp::testing
