#include "mp/testing/child.h"

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ostream>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "mp/base/io.h"

namespace mp::testing {
namespace {

// noexcept, so that an exception ends the child and does not run the test on.
[[noreturn]] void RunAndExit(absl::FunctionRef<absl::Status()> body) noexcept {
  const absl::Status status = body();
  if (!status.ok()) {
    std::fprintf(stderr, "child %d: %s\n", getpid(), status.ToString().c_str());
  }
  std::fflush(nullptr);
  _exit(status.ok() && !::testing::Test::HasFailure() ? 0 : 1);
}

[[noreturn]] void Die(const char* call) {
  std::perror(call);
  std::abort();
}

}  // namespace

std::ostream& operator<<(std::ostream& out, ExitStatus status) {
  if (status.code >= 0) return out << "exited with " << status.code;
  return out << "was killed by signal " << -status.code << " ("
             << strsignal(-status.code) << ")";
}

Child::~Child() {
  if (pid_ < 0) return;
  Kill(SIGKILL);
  Wait();
}

void Child::Kill(int signal) {
  if (status_.has_value() || pid_ < 0) return;  // kill(-1) would hit them all.
  if (kill(pid_, signal) != 0) Die("kill");
}

ExitStatus Child::Wait() {
  if (status_.has_value()) return *status_;
  int ended;
  if (RetryOnEintr([&] { return waitpid(pid_, &ended, 0); }) != pid_) {
    Die("waitpid");
  }
  status_ = {WIFEXITED(ended) ? WEXITSTATUS(ended) : -WTERMSIG(ended)};
  return *status_;
}

Child RunInChild(absl::FunctionRef<absl::Status()> body) {
  std::fflush(nullptr);  // Or both processes would write what is buffered.
  const pid_t pid = fork();
  if (pid < 0) Die("fork");
  if (pid == 0) RunAndExit(body);
  return Child(pid);
}

}  // namespace mp::testing
