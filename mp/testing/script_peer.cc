#include "mp/testing/script_peer.h"

#include <spawn.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/testing/paired_benchmark.h"

namespace mp::testing {
namespace {

// Runs a program with the socket for stdin and stdout. Returns an errno.
int Spawn(const std::vector<std::string>& command, const Fd& socket,
          pid_t* pid) {
  std::vector<char*> argv;
  for (const std::string& word : command) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, socket.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, socket.get(), STDOUT_FILENO);
  const int error =
      posix_spawnp(pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

absl::StatusOr<std::string> ReadScript(const std::string& path) {
  std::ifstream file(path);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!text.empty()) return text;
  return absl::NotFoundError(absl::StrCat(
      path, " cannot be read; run this program with \"bazel run\""));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ScriptPeer>> PythonPeer(
    const std::string& script_path) {
  MP_ASSIGN_OR_RETURN(const std::string script, ReadScript(script_path));
  return std::make_unique<ScriptPeer>(
      std::vector<std::string>{"/usr/bin/python3", "-c", script});
}

ScriptPeer::~ScriptPeer() {
  socket_.Close();
  if (pid_ > 0) RetryOnEintr([&] { return waitpid(pid_, nullptr, 0); });
}

Measure ScriptPeer::Does(const std::string& name) {
  return [this, name](int runs) { return Ask(name, runs); };
}

absl::Status ScriptPeer::EnsureRunning() {
  if (pid_ > 0) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(SocketPair sockets, CreateSocketPair());
  const int error = Spawn(command_, sockets.second, &pid_);
  if (error == ENOENT) {
    return absl::UnimplementedError(
        absl::StrCat("there is no ", command_[0], " here to compare with"));
  }
  if (error != 0) {
    return ErrnoStatus(error, absl::StrCat("posix_spawn(", command_[0], ")"));
  }
  socket_ = std::move(sockets.first);
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> ScriptPeer::Ask(const std::string& name,
                                               int runs) {
  MP_RETURN_IF_ERROR(EnsureRunning());
  const std::string request = absl::StrCat(name, " ", runs, "\n");
  if (send(socket_.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
    return absl::UnavailableError(absl::StrCat(command_[0], " has ended"));
  }
  MP_ASSIGN_OR_RETURN(const std::string answer, ReadLine());
  double seconds;
  if (absl::SimpleAtod(answer, &seconds)) return absl::Seconds(seconds);
  return absl::DataLossError(absl::StrCat(command_[0], " answered ", name,
                                          " with \"", absl::CEscape(answer),
                                          "\", which is no time"));
}

absl::StatusOr<std::string> ScriptPeer::ReadLine() {
  std::string line;
  while (true) {
    char next;
    MP_ASSIGN_OR_RETURN(const size_t got, ReadUpTo(socket_.get(), &next, 1));
    if (got == 0) {
      return absl::UnavailableError(absl::StrCat(command_[0], " has ended"));
    }
    if (next == '\n') return line;
    line.push_back(next);
  }
}

}  // namespace mp::testing
