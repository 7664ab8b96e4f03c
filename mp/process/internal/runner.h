#ifndef MP_PROCESS_INTERNAL_RUNNER_H_
#define MP_PROCESS_INTERNAL_RUNNER_H_

#include <string>

#include "mp/process/internal/call.h"

namespace mp::internal {

// Exit codes that CPython uses for the same.
inline constexpr int kExitCodeFailed = 1;    // the function failed
inline constexpr int kExitCodeNotRun = 255;  // it could not be run at all

// Runs the call and returns the exit code of its process. What went wrong goes
// to stderr in one write, under the name of the process.
int RunCall(Call& call);

// Writes "NAME: MESSAGE" and a new line to stderr, in one piece.
void Complain(const std::string& message);

// Thrown by mp::Exit() in a thread that stands for a process.
struct ExitThread {
  int code;
};

// Writes out the buffers of stdio and iostream.
void FlushStdio();

// Makes /dev/null the stdin.
void DetachStdin();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_RUNNER_H_
