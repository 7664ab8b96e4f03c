#include "mp/testing/step_killer.h"

#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"
#include "mp/testing/test_scale.h"
#include "mp/testing/tracee.h"

namespace mp::testing {
namespace {

constexpr int64_t kToTheEnd = std::numeric_limits<int64_t>::max();

// How long it may take to kill at all points that SomePoints() returns, about.
constexpr absl::Duration kTimeForPoints = absl::Seconds(5);
constexpr int kFewestPoints = 10;

}  // namespace

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
    MP_ASSIGN_OR_RETURN(const Tracee::Stop stop, tracee_.Go(how, on_asleep));
    if (stop == Tracee::Stop::kEnded && !is_killed_) return UnwantedEnd();
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
  MP_RETURN_IF_ERROR(run.Step(kToTheEnd));
  MP_ASSIGN_OR_RETURN(const Killed ended, run.End());
  return ended.instructions;
}

absl::StatusOr<std::vector<int64_t>> StepKiller::SomePoints(int at_most) {
  const absl::Time start = absl::Now();
  MP_ASSIGN_OR_RETURN(const int64_t count, Count());
  // On average, a child is killed half-way.
  const absl::Duration each = (absl::Now() - start) / 2;
  const int64_t affordable =
      std::max<int64_t>(kFewestPoints, kTimeForPoints / each);
  const int64_t wanted = std::min<int64_t>(at_most, affordable);
  const int64_t stride = IsFullTest() ? 1 : count / wanted + 1;
  std::vector<int64_t> points;
  for (int64_t at = TestSeed() % stride; at <= count; at += stride) {
    points.push_back(at);
  }
  return points;
}

absl::StatusOr<Killed> StepKiller::KillAt(int64_t instructions) {
  MP_ASSIGN_OR_RETURN(Run run, Run::ToRegion(*this));
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
