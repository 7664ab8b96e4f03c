#include "mp/testing/paired_benchmark.h"

#include <algorithm>
#include <ctime>
#include <functional>
#include <iostream>
#include <iterator>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"

namespace mp::testing {
namespace {

constexpr double kNoise = 1.25;
constexpr double kHalfOfTarget = 2;

// Of a row that missed, when it is measured again.
constexpr int kMoreTimes = 2;
constexpr int kMorePairs = 3;

constexpr char kUsage[] =
    "usage: [--check] [--pairs=N] [--filter=TEXT], where N is at least 1";

// Since the start of the monotonic clock.
absl::Duration Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

template <typename T>
T Median(std::vector<T> values) {
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

absl::StatusOr<absl::Duration> MeasureOne(const Measure& side, int runs) {
  MP_ASSIGN_OR_RETURN(const absl::Duration all, side(runs));
  if (all > absl::ZeroDuration()) return all / runs;
  return absl::InternalError("it took no time at all");
}

// One that is faster reads better the other way round.
std::string RatioText(double ratio, double target) {
  return target < 1 ? absl::StrFormat("%.1fx faster", 1 / ratio)
                    : absl::StrFormat("%.2f", ratio);
}

std::string TargetText(double target) {
  return target < 1 ? absl::StrFormat(">= %gx", 1 / target)
                    : absl::StrFormat("<= %.2f", target);
}

absl::string_view VerdictText(Verdict verdict) {
  switch (verdict) {
    case Verdict::kMet:
      return "met";
    case Verdict::kHalf:
      return "half";
    case Verdict::kMissed:
      return "MISSED";
    case Verdict::kNotMeasured:
      return "NOT MEASURED";
    case Verdict::kFailed:
      return "FAILED";
  }
  return "";
}

Verdict VerdictOf(const absl::StatusOr<PairFigures>& figures, double target) {
  if (figures.ok()) return Judge(figures->ratio, target);
  return absl::IsUnimplemented(figures.status()) ? Verdict::kNotMeasured
                                                 : Verdict::kFailed;
}

bool IsBad(Verdict verdict) {
  return verdict == Verdict::kMissed || verdict == Verdict::kFailed;
}

}  // namespace

Measure Timed(std::function<absl::Status()> body) {
  return [body = std::move(body)](int runs) -> absl::StatusOr<absl::Duration> {
    const absl::Duration start = Now();
    for (int i = 0; i < runs; ++i) MP_RETURN_IF_ERROR(body());
    return Now() - start;
  };
}

Measure TimedEach(std::function<absl::Status()> body) {
  return [body = std::move(body)](int runs) -> absl::StatusOr<absl::Duration> {
    std::vector<absl::Duration> times(runs);
    for (absl::Duration& time : times) {
      const absl::Duration start = Now();
      MP_RETURN_IF_ERROR(body());
      time = Now() - start;
    }
    return runs * Median(std::move(times));
  };
}

Verdict Judge(double ratio, double target) {
  if (ratio <= target * kNoise) return Verdict::kMet;
  return ratio <= target * kHalfOfTarget ? Verdict::kHalf : Verdict::kMissed;
}

absl::StatusOr<PairFigures> MeasurePair(const Pair& pair, int pairs) {
  MP_RETURN_IF_ERROR(MeasureOne(pair.ours, 1).status());
  MP_RETURN_IF_ERROR(MeasureOne(pair.floor, 1).status());
  const int floor_runs = pair.floor_runs.value_or(pair.runs);
  std::vector<absl::Duration> ours(pairs);
  std::vector<absl::Duration> floor(pairs);
  std::vector<double> ratios(pairs);
  for (int i = 0; i < pairs; ++i) {
    const bool ours_first = i % 2 == 0;
    if (ours_first) {
      MP_ASSIGN_OR_RETURN(ours[i], MeasureOne(pair.ours, pair.runs));
    }
    MP_ASSIGN_OR_RETURN(floor[i], MeasureOne(pair.floor, floor_runs));
    if (!ours_first) {
      MP_ASSIGN_OR_RETURN(ours[i], MeasureOne(pair.ours, pair.runs));
    }
    ratios[i] = absl::FDivDuration(ours[i], floor[i]);
  }
  return PairFigures{Median(std::move(ours)), Median(std::move(floor)),
                     Median(std::move(ratios))};
}

absl::StatusOr<PairedBenchmarkOptions> ParsePairedBenchmarkOptions(
    int argc, char** argv) {
  PairedBenchmarkOptions options;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (argument == "--check") {
      options.check = true;
    } else if (absl::ConsumePrefix(&argument, "--filter=")) {
      options.filter = std::string(argument);
    } else if (!absl::ConsumePrefix(&argument, "--pairs=") ||
               !absl::SimpleAtoi(argument, &options.pairs) ||
               options.pairs < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(argv[i], " is no argument of this program; ", kUsage));
    }
  }
  return options;
}

PairedBenchmark::PairedBenchmark(PairedBenchmarkOptions options,
                                 std::ostream& out)
    : options_(std::move(options)), out_(out) {
  out_ << absl::StrFormat("%-60s %10s %10s %13s %8s  %s\n", "ours / floor",
                          "ours us", "floor us", "ratio", "target", "verdict");
}

bool PairedBenchmark::Wants(absl::string_view name) const {
  return absl::StrContains(name, options_.filter);
}

void PairedBenchmark::Run(const Pair& pair) {
  if (!Wants(pair.name)) return;
  absl::StatusOr<PairFigures> figures = MeasurePair(pair, options_.pairs);
  Verdict verdict = VerdictOf(figures, pair.target);
  for (int i = 0; i < kMoreTimes && options_.check; ++i) {
    if (verdict != Verdict::kMissed) break;
    WriteRow(pair, figures, verdict);
    out_ << "  measured again, as it may have been the machine:\n";
    figures = MeasurePair(pair, kMorePairs * options_.pairs);
    verdict = VerdictOf(figures, pair.target);
  }
  WriteRow(pair, figures, verdict);
  verdicts_.push_back(verdict);
}

void PairedBenchmark::Compare(absl::string_view what, absl::string_view with,
                              const Measure& ours, const Measure& floor,
                              double target, int runs,
                              std::optional<int> floor_runs) {
  Run({.name = absl::StrCat(what, " / ", with),
       .ours = ours,
       .floor = floor,
       .target = target,
       .runs = runs,
       .floor_runs = floor_runs});
}

void PairedBenchmark::WriteRow(const Pair& pair,
                               const absl::StatusOr<PairFigures>& figures,
                               Verdict verdict) {
  if (!figures.ok()) {
    out_ << absl::StrFormat("%-60s %s: %s\n", pair.name, VerdictText(verdict),
                            figures.status().message());
    return;
  }
  out_ << absl::StrFormat("%-60s %10.3f %10.3f %13s %8s  %s\n", pair.name,
                          absl::ToDoubleMicroseconds(figures->ours),
                          absl::ToDoubleMicroseconds(figures->floor),
                          RatioText(figures->ratio, pair.target),
                          TargetText(pair.target), VerdictText(verdict));
  out_.flush();
}

int PairedBenchmark::Finish() {
  const auto count = [&](Verdict verdict) {
    return std::count(verdicts_.begin(), verdicts_.end(), verdict);
  };
  out_ << absl::StrFormat(
      "%d met, %d half, %d missed, %d failed, %d not measured\n",
      count(Verdict::kMet), count(Verdict::kHalf), count(Verdict::kMissed),
      count(Verdict::kFailed), count(Verdict::kNotMeasured));
  const bool none = count(Verdict::kNotMeasured) == std::ssize(verdicts_);
  const bool bad =
      none || std::any_of(verdicts_.begin(), verdicts_.end(), IsBad);
  return options_.check && bad ? 1 : 0;
}

int ExitCodeOf(const absl::StatusOr<int>& result) {
  if (result.ok()) return *result;
  std::cerr << result.status() << "\n";
  return 1;
}

}  // namespace mp::testing
