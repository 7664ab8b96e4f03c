#include "mp/testing/paired_benchmark.h"

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/status_matchers.h"

namespace mp::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Claims to have taken that many microseconds for each run.
Measure Takes(double us) {
  return [us](int runs) { return absl::Microseconds(us) * runs; };
}

// The same, another number in each sample; the first is the warm-up.
Measure TakesInTurn(std::vector<double> us) {
  return [us, next = 0](int runs) mutable {
    return absl::Microseconds(us.at(next++)) * runs;
  };
}

Measure FailsWith(absl::Status status) {
  return [status](int) -> absl::StatusOr<absl::Duration> { return status; };
}

Pair PairOf(Measure ours, Measure floor, double target = 1.3) {
  return {.name = "a queue / a pipe",
          .ours = std::move(ours),
          .floor = std::move(floor),
          .target = target,
          .runs = 10};
}

absl::StatusOr<PairedBenchmarkOptions> Parse(std::vector<std::string> args) {
  std::vector<char*> argv = {nullptr};
  for (std::string& arg : args) argv.push_back(arg.data());
  return ParsePairedBenchmarkOptions(static_cast<int>(argv.size()),
                                     argv.data());
}

// What a program of this one pair prints, and its exit status.
struct Outcome {
  std::string text;
  int exit_status;
};
Outcome RunProgram(const Pair& pair, PairedBenchmarkOptions options = {}) {
  std::ostringstream out;
  PairedBenchmark benchmark(options, out);
  benchmark.Run(pair);
  const int exit_status = benchmark.Finish();
  return {out.str(), exit_status};
}

TEST(TimedTest, RunsTheBodyAsOftenAsAsked) {
  int calls = 0;
  const Measure measure = Timed([&] {
    ++calls;
    return absl::OkStatus();
  });
  EXPECT_THAT(measure(7), IsOk());
  EXPECT_EQ(calls, 7);
}

TEST(TimedTest, AddsUp) {
  const auto time = Timed([] {
    absl::SleepFor(absl::Milliseconds(2));
    return absl::OkStatus();
  })(5);
  ASSERT_THAT(time, IsOk());
  EXPECT_GE(*time, absl::Milliseconds(10));
}

// Four that take long, among nine.
TEST(TimedEachTest, LeavesOutWhatIsOutOfTheOrdinary) {
  int calls = 0;
  const auto body = [&] {
    if (++calls % 2 == 0) absl::SleepFor(absl::Milliseconds(50));
    return absl::OkStatus();
  };
  const auto all = Timed(body)(9);
  calls = 0;
  const auto each = TimedEach(body)(9);
  ASSERT_THAT(all, IsOk());
  ASSERT_THAT(each, IsOk());
  EXPECT_EQ(calls, 9);
  EXPECT_GE(*all, absl::Milliseconds(200));
  EXPECT_LT(*each, *all);
}

TEST(TimedEachTest, IsForAllRuns) {
  const auto time = TimedEach([] {
    absl::SleepFor(absl::Milliseconds(2));
    return absl::OkStatus();
  })(5);
  ASSERT_THAT(time, IsOk());
  EXPECT_GE(*time, absl::Milliseconds(10));
}

TEST(TimedEachTest, StopsAtAnError) {
  EXPECT_THAT(TimedEach([] { return absl::AbortedError("first"); })(7),
              StatusIs(absl::StatusCode::kAborted, "first"));
}

TEST(TimedTest, StopsAtAnError) {
  int calls = 0;
  const Measure measure = Timed([&] {
    return ++calls < 3 ? absl::OkStatus() : absl::AbortedError("third");
  });
  EXPECT_THAT(measure(7), StatusIs(absl::StatusCode::kAborted, "third"));
  EXPECT_EQ(calls, 3);
}

TEST(JudgeTest, AllowsAQuarterForNoiseAndTwiceForHalf) {
  EXPECT_EQ(Judge(0.5, 1.2), Verdict::kMet);
  EXPECT_EQ(Judge(1.49, 1.2), Verdict::kMet);
  EXPECT_EQ(Judge(1.51, 1.2), Verdict::kHalf);
  EXPECT_EQ(Judge(2.39, 1.2), Verdict::kHalf);
  EXPECT_EQ(Judge(2.41, 1.2), Verdict::kMissed);
}

TEST(JudgeTest, HoldsASpeedUpToTheSameRule) {
  EXPECT_EQ(Judge(1 / 8.1, 1 / 10.0), Verdict::kMet);
  EXPECT_EQ(Judge(1 / 7.9, 1 / 10.0), Verdict::kHalf);
  EXPECT_EQ(Judge(1 / 4.9, 1 / 10.0), Verdict::kMissed);
}

TEST(MeasurePairTest, RunsEachSideAsOftenAsAsked) {
  std::vector<int> ours, floor;
  const auto counts = [](std::vector<int>& runs) {
    return [&runs](int count) -> absl::StatusOr<absl::Duration> {
      runs.push_back(count);
      return absl::Seconds(count);
    };
  };
  Pair pair = PairOf(counts(ours), counts(floor));
  pair.runs = 7;
  ASSERT_THAT(MeasurePair(pair, 1), IsOk());
  EXPECT_THAT(floor, ElementsAre(1, 7));
  pair.floor_runs = 3;
  const auto figures = MeasurePair(pair, 1);
  ASSERT_THAT(figures, IsOk());
  EXPECT_THAT(ours, ElementsAre(1, 7, 1, 7));
  EXPECT_THAT(floor, ElementsAre(1, 7, 1, 3));
  EXPECT_DOUBLE_EQ(figures->ratio, 1);
}

TEST(MeasurePairTest, IsForOneRun) {
  const auto figures = MeasurePair(PairOf(Takes(30), Takes(20)), 3);
  ASSERT_THAT(figures, IsOk());
  EXPECT_EQ(figures->ours, absl::Microseconds(30));
  EXPECT_EQ(figures->floor, absl::Microseconds(20));
  EXPECT_DOUBLE_EQ(figures->ratio, 1.5);
}

// The machine becomes four times slower on the way, in the middle of a pair: by
// the medians, ours would take half as long.
TEST(MeasurePairTest, TakesTheRatioBetweenNeighbours) {
  const auto figures = MeasurePair(
      PairOf(TakesInTurn({1, 10, 10, 40}), TakesInTurn({1, 5, 20, 20})), 3);
  ASSERT_THAT(figures, IsOk());
  EXPECT_EQ(figures->ours, absl::Microseconds(10));
  EXPECT_EQ(figures->floor, absl::Microseconds(20));
  EXPECT_DOUBLE_EQ(figures->ratio, 2);
}

TEST(MeasurePairTest, IsNotMovedByOneBadSample) {
  const auto figures = MeasurePair(
      PairOf(TakesInTurn({1, 2, 900, 2}), TakesInTurn({1, 1, 1, 1})), 3);
  ASSERT_THAT(figures, IsOk());
  EXPECT_DOUBLE_EQ(figures->ratio, 2);
}

TEST(MeasurePairTest, TakesTurnsAtGoingFirstAfterAWarmUp) {
  std::string order;
  const auto side = [&](char name) {
    return [&order, name](int runs) {
      order += name;
      return absl::Seconds(runs);
    };
  };
  ASSERT_THAT(MeasurePair(PairOf(side('o'), side('f')), 3), IsOk());
  EXPECT_EQ(order,
            "of"
            "of"
            "fo"
            "of");
}

TEST(MeasurePairTest, HasNoRatioToNothing) {
  EXPECT_THAT(MeasurePair(PairOf(Takes(1), Takes(0)), 3),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("no time")));
}

TEST(ParsePairedBenchmarkOptionsTest, ReadsAllOfThem) {
  const auto options = Parse({"--check", "--pairs=7", "--filter=fork"});
  ASSERT_THAT(options, IsOk());
  EXPECT_TRUE(options->check);
  EXPECT_EQ(options->pairs, 7);
  EXPECT_EQ(options->filter, "fork");
}

TEST(ParsePairedBenchmarkOptionsTest, RefusesOthersAndSaysWhatWouldDo) {
  for (const char* bad : {"--pairs=0", "--pairs=x", "--chek", "7"}) {
    EXPECT_THAT(Parse({bad}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(bad), HasSubstr("--pairs=N"))));
  }
}

TEST(PairedBenchmarkTest, WritesARow) {
  EXPECT_THAT(RunProgram(PairOf(Takes(300), Takes(250))).text,
              AllOf(HasSubstr("a queue / a pipe"), HasSubstr(" 300.000 "),
                    HasSubstr(" 250.000 "), HasSubstr(" 1.20 "),
                    HasSubstr("<= 1.30  met\n"), HasSubstr("1 met, 0 half")));
}

TEST(PairedBenchmarkTest, NamesWhatItCompares) {
  std::ostringstream out;
  PairedBenchmark benchmark({.pairs = 1}, out);
  benchmark.Compare("a queue", "a pipe", Takes(300), Takes(250), 1.3, 1);
  EXPECT_EQ(benchmark.Finish(), 0);
  EXPECT_THAT(out.str(), HasSubstr("a queue / a pipe"));
}

TEST(PairedBenchmarkTest, WritesASpeedUpAsOne) {
  EXPECT_THAT(RunProgram(PairOf(Takes(2), Takes(30), 1 / 10.0)).text,
              AllOf(HasSubstr("15.0x faster"), HasSubstr(">= 10x  met\n")));
}

TEST(PairedBenchmarkTest, FailsOnlyIfToldToCheck) {
  const Pair missed = PairOf(Takes(3), Takes(1));
  EXPECT_EQ(RunProgram(missed).exit_status, 0);
  EXPECT_THAT(RunProgram(missed).text, HasSubstr("MISSED"));
  EXPECT_EQ(RunProgram(missed, {.check = true}).exit_status, 1);
}

TEST(PairedBenchmarkTest, IsContentWithHalf) {
  const Outcome outcome =
      RunProgram(PairOf(Takes(2), Takes(1)), {.check = true});
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_THAT(outcome.text, HasSubstr("half\n"));
}

TEST(PairedBenchmarkTest, MeasuresAgainWhatMissed) {
  // A warm-up and a sample that are slow, then a warm-up and three that are
  // not.
  const Outcome outcome =
      RunProgram(PairOf(TakesInTurn({9, 9, 1, 1, 1, 1}), Takes(1)),
                 {.pairs = 1, .check = true});
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_THAT(outcome.text, AllOf(HasSubstr("MISSED\n"), HasSubstr("again"),
                                  HasSubstr("1 met, 0 half, 0 missed")));
}

TEST(PairedBenchmarkTest, MeasuresAgainTwiceAtMost) {
  int samples = 0;
  const Measure slow = [&](int runs) {
    ++samples;
    return absl::Microseconds(9) * runs;
  };
  RunProgram(PairOf(slow, Takes(1)), {.pairs = 1, .check = true});
  EXPECT_EQ(samples, (1 + 1) + 2 * (1 + 3));
  samples = 0;
  RunProgram(PairOf(slow, Takes(1)), {.pairs = 1});
  EXPECT_EQ(samples, 1 + 1);
}

TEST(PairedBenchmarkTest, SaysWhyARowIsMissing) {
  const Outcome outcome = RunProgram(
      PairOf(Takes(1), FailsWith(absl::UnimplementedError("no python3"))));
  EXPECT_THAT(outcome.text, AllOf(HasSubstr("NOT MEASURED: no python3\n"),
                                  HasSubstr("0 failed, 1 not measured")));
}

// Nothing to compare with is no fault of ours.
TEST(PairedBenchmarkTest, ChecksTheOtherRowsIfOneIsMissing) {
  std::ostringstream out;
  PairedBenchmark benchmark({.check = true}, out);
  benchmark.Run(
      PairOf(Takes(1), FailsWith(absl::UnimplementedError("no python3"))));
  benchmark.Run(PairOf(Takes(1), Takes(1)));
  EXPECT_EQ(benchmark.Finish(), 0);
}

TEST(PairedBenchmarkTest, MindsAnError) {
  const Outcome outcome =
      RunProgram(PairOf(FailsWith(absl::InternalError("broken")), Takes(1)),
                 {.check = true});
  EXPECT_EQ(outcome.exit_status, 1);
  EXPECT_THAT(outcome.text, HasSubstr("FAILED: broken\n"));
}

TEST(PairedBenchmarkTest, LeavesOutWhatTheFilterDoesNotName) {
  const Outcome outcome =
      RunProgram(PairOf(Takes(1), Takes(1)), {.filter = "semaphore"});
  EXPECT_THAT(outcome.text, Not(HasSubstr("a queue")));
}

// A filter with a slip in it would pass for ever.
TEST(PairedBenchmarkTest, ChecksThatThereIsSomethingToCheck) {
  const Outcome outcome = RunProgram(PairOf(Takes(1), Takes(1)),
                                     {.check = true, .filter = "semaphore"});
  EXPECT_EQ(outcome.exit_status, 1);
}

}  // namespace
}  // namespace mp::testing
