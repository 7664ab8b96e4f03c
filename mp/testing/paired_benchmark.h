#ifndef MP_TESTING_PAIRED_BENCHMARK_H_
#define MP_TESTING_PAIRED_BENCHMARK_H_

#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// How much slower our way of doing something is than another, or how much
// faster, on a machine whose speed drifts.
//
// The two are measured in turn, and what is judged is the median of the ratios
// of neighbours: a machine that slows down by half in between slows both.
namespace mp::testing {

// Does something `runs` times and returns how long all of it took.
//
// Errors:
//   kUnimplemented  this machine cannot: the row says so, and is no failure.
using Measure = std::function<absl::StatusOr<absl::Duration>(int runs)>;

// Calls `body` so many times by the monotonic clock, or until it fails.
Measure Timed(std::function<absl::Status()> body);

// The same, but takes the median of the single times for each: for what takes a
// good many microseconds, and would have an unrelated process run in between.
Measure TimedEach(std::function<absl::Status()> body);

// Something of ours and what to hold it against.
struct Pair {
  std::string name;
  Measure ours;
  Measure floor;

  // What `ours` may take for each second of `floor`: 1.3 is "not more than 1.3
  // times as long", 0.1 is "10 times as fast".
  double target = 1;

  // How often each is done in a sample. More of it evens out what a single run
  // catches of the rest of the machine.
  int runs = 1;

  // The same for `floor`, where it takes so much longer that as many would take
  // minutes, and so few of ours would be its start and nothing else. Default:
  // `runs`.
  std::optional<int> floor_runs = std::nullopt;
};

enum class Verdict {
  kMet,          // the target, or a quarter beyond it, which is noise
  kHalf,         // up to twice as slow as the target asks for
  kMissed,       // slower
  kNotMeasured,  // kUnimplemented
  kFailed,       // another error
};

// Returns kMet, kHalf or kMissed.
Verdict Judge(double ratio, double target);

// What came of a pair: medians over the samples.
struct PairFigures {
  absl::Duration ours;
  absl::Duration floor;
  double ratio = 0;
};

// Measures a pair: each side once as a warm-up, then `pairs` times in turn, the
// one that goes first alternating.
absl::StatusOr<PairFigures> MeasurePair(const Pair& pair, int pairs);

struct PairedBenchmarkOptions {
  // Samples of each side. Their median is the better the more there are.
  int pairs = 11;

  // Whether Finish() minds a row that is slower than half of its target, or
  // failed. A slow one is measured again, twice at most and with three times
  // the pairs.
  bool check = false;

  // Rows with this in their names are measured, the others left out.
  std::string filter = {};
};

// Reads --check, --pairs=N and --filter=TEXT.
//
// Errors:
//   kInvalidArgument  another argument, with what would do.
absl::StatusOr<PairedBenchmarkOptions> ParsePairedBenchmarkOptions(int argc,
                                                                   char** argv);

// A program that compares pairs and prints a table of them.
//
// Example:
//   int main(int argc, char** argv) {
//     auto options = ParsePairedBenchmarkOptions(argc, argv);
//     MP_CHECK_OK(options.status());
//     PairedBenchmark benchmark(*options, std::cout);
//     benchmark.Run({.name = "queue, put and get / a pipe",
//                    .ours = Timed(PutAndGet),
//                    .floor = Timed(WriteAndRead),
//                    .target = 1.3,
//                    .runs = 1000});
//     return benchmark.Finish();
//   }
//
// Threads: not safe.
class PairedBenchmark {
 public:
  // Writes the head of the table.
  PairedBenchmark(PairedBenchmarkOptions options, std::ostream& out);

  // Whether a row of that name is to be measured: what it needs may be dear.
  bool Wants(absl::string_view name) const;

  // Measures a pair, if it is wanted, and writes its row.
  void Run(const Pair& pair);

  // The same for a pair "WHAT / WITH".
  void Compare(absl::string_view what, absl::string_view with,
               const Measure& ours, const Measure& floor, double target,
               int runs, std::optional<int> floor_runs = std::nullopt);

  // Writes the sum of it. Returns the exit status: 1 if `check` was asked for
  // and a row is slower than half its target or failed, or none was measured;
  // otherwise 0.
  int Finish();

 private:
  void WriteRow(const Pair& pair, const absl::StatusOr<PairFigures>& figures,
                Verdict verdict);

  const PairedBenchmarkOptions options_;
  std::ostream& out_;
  std::vector<Verdict> verdicts_;
};

// What main() returns for the result of such a program. Writes an error to
// stderr; its exit status is 1.
int ExitCodeOf(const absl::StatusOr<int>& result);

}  // namespace mp::testing

#endif  // MP_TESTING_PAIRED_BENCHMARK_H_
