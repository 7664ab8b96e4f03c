#ifndef MP_PROCESS_INTERNAL_STDIO_PIPE_H_
#define MP_PROCESS_INTERNAL_STDIO_PIPE_H_

#include "absl/status/statusor.h"
#include "mp/base/fd.h"

namespace mp::internal {

// A pipe for a program's stdio, as programs expect it: with a socket in its
// place, one that opens /dev/stdin, for example, fails.
struct StdioPipe {
  Fd reader;
  Fd writer;
};

// Makes one, close-on-exec and none of stdin, stdout and stderr.
//
// Source: man 2 pipe.
absl::StatusOr<StdioPipe> CreateStdioPipe();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_STDIO_PIPE_H_
