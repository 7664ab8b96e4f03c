// checksum [--processes=N] [--start_method=METHOD] FOLDER...
//
// Prints the SHA-256 of every regular file below the folders, byte for byte as
//   find FOLDER... -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
// does, with N worker processes, and shows on a terminal how far it is.
//
// It forwards no signals, and ignores SIGPIPE. However it ends, its workers end
// too.
//
// Exit status: 0 if all files were hashed; 1 if some could not be, each of them
// named on stderr, or the output could not be written; 2 for a wrong option.
//
// See checksum.md.

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "examples/internal/checksum_output.h"
#include "examples/internal/file_list.h"
#include "examples/internal/hash_farm.h"
#include "examples/internal/sha256_file.h"
#include "mp/base/errno_status.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/cpu_count.h"
#include "mp/process/init.h"
#include "mp/process/log.h"

ABSL_FLAG(int, processes, mp::UsableCpuCount(),
          "How many worker processes; by default one for each usable CPU.");
ABSL_FLAG(std::string, start_method, "forkserver",
          "How they are started: forkserver, fork, spawn or thread.");

namespace examples {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

struct Settings {
  HashFarmOptions farm;
  std::vector<std::string> folders;
};

absl::StatusOr<Settings> ReadCommandLine(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "prints the SHA-256 of every file below some folders.\n"
      "usage: checksum [--processes=N] [--start_method=METHOD] FOLDER...");
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  Settings settings;
  settings.folders.assign(arguments.begin() + 1, arguments.end());
  settings.farm.processes = absl::GetFlag(FLAGS_processes);
  if (settings.farm.processes < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--processes=", settings.farm.processes, ": at least 1 is needed"));
  }
  MP_ASSIGN_OR_RETURN(settings.farm.context,
                      mp::GetContext(absl::GetFlag(FLAGS_start_method)));
  if (settings.folders.empty()) {
    return absl::InvalidArgumentError("no folder given; see --help");
  }
  return settings;
}

// Makes a closed pipe an error, and a closed stdout one before the work is
// done.
absl::Status CheckStdout() {
  signal(SIGPIPE, SIG_IGN);
  if (write(STDOUT_FILENO, nullptr, 0) == 0) return absl::OkStatus();
  return mp::ErrnoStatus(errno, "stdout");
}

// `bazel run` starts programs in a folder of its own and says here from where
// it was itself started.
absl::Status EnterCallersFolder() {
  const char* const folder = std::getenv("BUILD_WORKING_DIRECTORY");
  if (folder == nullptr || chdir(folder) == 0) return absl::OkStatus();
  return mp::ErrnoStatus(errno, absl::StrCat("chdir(\"", folder, "\")"));
}

uint64_t TotalBytes(const FileList& list) {
  uint64_t bytes = 0;
  for (const ListedFile& file : list.files) bytes += file.size_bytes;
  return bytes;
}

absl::Status HashAndPrint(const FileList& list, const HashFarmOptions& options,
                          ChecksumOutput& output) {
  for (const ListFailure& failure : list.failures) {
    MP_RETURN_IF_ERROR(output.Complain(failure.name, failure.problem));
  }
  MP_RETURN_IF_ERROR(HashFiles(
      list.files, options,
      [&](size_t file, const absl::StatusOr<Sha256Digest>& digest) {
        const std::string& name = list.files[file].name;
        return digest.ok() ? output.PrintDigest(name, *digest)
                           : output.Complain(name, digest.status().message());
      },
      [&](uint64_t done_bytes) { return output.Tick(done_bytes); }));
  return output.Flush();
}

int Fail(const absl::Status& error, int exit_status) {
  WriteComplaint(error.message());
  return exit_status;
}

int Run(int argc, char** argv) {
  const absl::Status ready = CheckStdout();
  if (!ready.ok()) return Fail(ready, kExitFailed);
  const absl::StatusOr<Settings> settings = ReadCommandLine(argc, argv);
  if (!settings.ok()) return Fail(settings.status(), kExitUsage);
  // With --start_method=fork, that there are threads is no news to anybody.
  mp::GetLogger().set_level(mp::LogLevel::kError);
  const absl::Status entered = EnterCallersFolder();
  if (!entered.ok()) return Fail(entered, kExitFailed);

  const FileList list = ListFiles(settings->folders);
  ChecksumOutput output(TotalBytes(list));
  const absl::Status done = HashAndPrint(list, settings->farm, output);
  if (done.ok()) return output.has_complained() ? kExitFailed : 0;
  output.Flush().IgnoreError();  // it may be the error
  return Fail(done, kExitFailed);
}

}  // namespace
}  // namespace examples

int main(int argc, char** argv) {
  mp::Init(argc, argv);
  return examples::Run(argc, argv);
}
