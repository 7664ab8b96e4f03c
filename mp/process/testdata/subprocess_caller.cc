// A program that starts programs and ends with them still running. It does not
// call mp::Init().
//
//   subprocess_caller exit           `cat`, which reads a pipe of ours
//   subprocess_caller exit_daemon    `sleep`, which is to end with us
//   subprocess_caller wait FD        `sleep`, which is to end with us and has
//                                    FD; says so there, closes its own FD and
//                                    waits for ever
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/stdio.h"
#include "mp/process/subprocess.h"

namespace {

using mp::Stdio;
using mp::Subprocess;

void ExitBesideReader() {
  auto* const cat = new absl::StatusOr<Subprocess>(Subprocess::Popen(
      {"cat"}, {.surroundings = {.stdin_from = Stdio::Pipe(),
                                 .stdout_to = Stdio::Pipe()}}));
  MP_CHECK_OK(*cat);
  std::exit(3);
}

void StartSleep(std::vector<int> pass_fds) {
  static absl::StatusOr<Subprocess>& sleep = *new absl::StatusOr<Subprocess>(
      Subprocess::Popen({"sleep", "1000"}, {.pass_fds = std::move(pass_fds),
                                            .end_with_parent = true}));
  MP_CHECK_OK(sleep);
}

void WaitBesideSleeper(int fd) {
  // The kernel is not to mind that this thread ends.
  std::thread([&] { StartSleep({fd}); }).join();
  if (write(fd, "x", 1) != 1 || close(fd) != 0) std::exit(1);
  while (true) pause();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "exit") ExitBesideReader();
  if (what == "exit_daemon") {
    StartSleep({});
    return 3;
  }
  if (what == "wait" && argc > 2) WaitBesideSleeper(std::stoi(argv[2]));
  return 2;
}
