#include "examples/internal/checksum_tool.h"

#include <filesystem>
#include <string>
#include <vector>

#include "examples/internal/program_run.h"

namespace examples {

std::vector<std::string> ChecksumCommand(
    const std::vector<std::string>& arguments) {
  // A test begins in the folder to which its data is relative.
  static const std::string& tool =
      *new std::string(std::filesystem::absolute("examples/checksum"));
  std::vector<std::string> command = {tool};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

std::string Sha256sumOutput(const std::vector<std::string>& folders,
                            const ProgramOptions& options) {
  std::vector<std::string> command = {
      "/bin/sh", "-c",
      "find \"$@\" -type f -print0 | LC_ALL=C sort -z |"
      " xargs -0 --no-run-if-empty sha256sum --",
      "sh"};
  command.insert(command.end(), folders.begin(), folders.end());
  return ProgramRun(command, options).Wait().out;
}

}  // namespace examples
