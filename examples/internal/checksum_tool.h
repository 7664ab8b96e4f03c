#ifndef EXAMPLES_INTERNAL_CHECKSUM_TOOL_H_
#define EXAMPLES_INTERNAL_CHECKSUM_TOOL_H_

#include <string>
#include <vector>

#include "examples/internal/program_run.h"

namespace examples {

// Returns the command that runs //examples:checksum, on which the test has to
// depend for its data.
std::vector<std::string> ChecksumCommand(
    const std::vector<std::string>& arguments);

// Returns what find, sort and sha256sum print for the same folders.
std::string Sha256sumOutput(const std::vector<std::string>& folders,
                            const ProgramOptions& options = {});

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_CHECKSUM_TOOL_H_
