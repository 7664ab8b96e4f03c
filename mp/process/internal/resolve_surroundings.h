#ifndef MP_PROCESS_INTERNAL_RESOLVE_SURROUNDINGS_H_
#define MP_PROCESS_INTERNAL_RESOLVE_SURROUNDINGS_H_

#include <sys/types.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/surroundings.h"

namespace mp::internal {

// Surroundings without a name that is yet to be looked up: what is not here the
// new process has already.
struct ResolvedSurroundings {
  Fd cwd;
  std::optional<std::vector<std::string>> environment;  // "NAME=VALUE"
  std::array<Fd, 3> stdio;  // 3 or above, for stdin, stdout and stderr
  std::vector<int> cpu_affinity;
  std::optional<int> nice;
  std::vector<ResourceLimit> rlimits;
  std::optional<mode_t> umask;
};

// Checks everything, and opens what is a name. Runs in the caller of a start.
//
// Errors: those of Surroundings, and
//   kInvalidArgument    a Stdio::Pipe(): who gives the other end to somebody
//                       puts a descriptor in its place first.
//   kResourceExhausted  no descriptor left.
absl::StatusOr<ResolvedSurroundings> Resolve(const Surroundings& surroundings);

// Sends them, the descriptors as handles.
void WriteSurroundings(const ResolvedSurroundings& surroundings,
                       Encoder& encoder);
absl::StatusOr<ResolvedSurroundings> ReadSurroundings(Decoder& decoder);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_RESOLVE_SURROUNDINGS_H_
