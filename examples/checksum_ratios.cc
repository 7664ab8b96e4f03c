// checksum_ratios [--check] [--pairs=N] [--filter=TEXT]
//
// How long //examples:checksum takes for the files of this system, against what
// one would write in a shell instead; the files are in the page cache. The
// digest is libcrypto's in checksum and openssl(1), which use the instructions
// of the CPU for it (man 1 openssl-dgst), and coreutils' own in sha256sum.

#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/process/subprocess.h"
#include "mp/testing/paired_benchmark.h"

namespace examples {
namespace {

using ::mp::testing::PairedBenchmark;
using ::mp::testing::TimedEach;

constexpr char kChecksum[] = "examples/checksum";

// A folder of many small files, and one of larger ones.
constexpr const char* kFolders[] = {"/usr/share/doc", "/usr/bin"};

absl::Status RunInShell(const std::string& script) {
  return mp::Subprocess::CheckCall({"/bin/sh", "-c", script});
}

mp::testing::Measure Checksum(absl::string_view folder, int processes) {
  return TimedEach(
      [script = absl::StrCat(kChecksum, " --processes=", processes, " ", folder,
                             " > /dev/null")] { return RunInShell(script); });
}

// Hashes the files by a program that takes their names, in two processes.
mp::testing::Measure Xargs(absl::string_view folder,
                           absl::string_view program) {
  return TimedEach(
      [script = absl::StrCat("find ", folder,
                             " -type f -print0 | xargs -0 -P2 ", program,
                             " > /dev/null")] { return RunInShell(script); });
}

absl::StatusOr<int> Main(int argc, char** argv) {
  MP_ASSIGN_OR_RETURN(auto options,
                      mp::testing::ParsePairedBenchmarkOptions(argc, argv));
  PairedBenchmark benchmark(std::move(options), std::cout);
  for (const char* folder : kFolders) {
    // Few names are one process's, unless xargs is told to share them out.
    for (const char* program :
         {"sha256sum", "-n64 sha256sum", "-n64 openssl dgst -sha256 -r"}) {
      benchmark.Run(
          {.name = absl::StrCat(folder, ": checksum / xargs -P2 ", program),
           .ours = Checksum(folder, 2),
           .floor = Xargs(folder, program),
           .target = 1.10});
    }
  }
  return benchmark.Finish();
}

}  // namespace
}  // namespace examples

int main(int argc, char** argv) {
  return mp::testing::ExitCodeOf(examples::Main(argc, argv));
}
