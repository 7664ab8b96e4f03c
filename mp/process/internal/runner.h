#ifndef MP_PROCESS_INTERNAL_RUNNER_H_
#define MP_PROCESS_INTERNAL_RUNNER_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/process/decoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// Exit codes that CPython uses for the same.
inline constexpr int kExitCodeFailed = 1;    // the function failed
inline constexpr int kExitCodeNotRun = 255;  // it could not be run at all

// Runs the call and returns the exit code of its process. What went wrong goes
// to stderr in one write, under the name of the process.
int RunCall(Call& call);

// ReadCall(), but what a type's own constructor or Serializer throws is a
// status.
absl::StatusOr<std::unique_ptr<Call>> ReadCallCatching(Decoder& decoder);

// Reads a call and does the same.
int RunParcel(Parcel parcel);

// Runs something of the user's. An exception becomes a status with its name.
absl::Status RunCatching(absl::FunctionRef<absl::Status()> body);

// Writes "NAME: MESSAGE" and a new line to stderr, in one piece.
void Complain(const std::string& message);

// Thrown by mp::Exit() in a thread that stands for a process.
struct ExitThread {
  int code;
};

// Writes out the buffers of stdio and iostream.
void FlushStdio();

// Unblocks all signals for this thread, so that a process can be ended whatever
// its starter had blocked.
void UnblockSignals();

// Puts something in the place of a stdin, stdout or stderr that is closed, so
// that no descriptor of ours is taken for one. Reading or writing it fails as
// before.
void FillStdio();

// Makes /dev/null the stdin.
void DetachStdin();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_RUNNER_H_
