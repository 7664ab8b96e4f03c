#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/start_floor.h"

namespace mp::internal {
namespace {

constexpr char kExit[] = "--start-floor=exit";
constexpr char kServeOwn[] = "--start-floor=serve";
constexpr char kServeClients[] = "--start-floor=serve-clients";

constexpr idtype_t kPidfd = static_cast<idtype_t>(3);  // P_PIDFD

// Where a server finds its socket.
constexpr int kServerSocket = 3;

// A message of one int and one descriptor.
struct Message {
  explicit Message(int* value) : part{value, sizeof(*value)} {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
  }

  iovec part;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header = {};
};

bool SendChild(int socket, int pid, int pidfd) {
  Message message(&pid);
  cmsghdr* const rights = CMSG_FIRSTHDR(&message.header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(pidfd));
  std::memcpy(CMSG_DATA(rights), &pidfd, sizeof(pidfd));
  return sendmsg(socket, &message.header, MSG_NOSIGNAL) == sizeof(pid);
}

// Returns the pidfd.
absl::StatusOr<Fd> ReceiveChild(int socket) {
  int pid = 0;
  Message message(&pid);
  const ssize_t got = recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC);
  cmsghdr* const rights = CMSG_FIRSTHDR(&message.header);
  if (got != sizeof(pid) || pid <= 0 || rights == nullptr) {
    return absl::UnavailableError("the bare fork server sent no child");
  }
  int pidfd;
  std::memcpy(&pidfd, CMSG_DATA(rights), sizeof(pidfd));
  return Fd(pidfd);
}

pid_t CloneAndExit(uint64_t flags, uint64_t exit_signal, int* pidfd) {
  clone_args arguments = {};
  arguments.flags = flags | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(pidfd);
  arguments.exit_signal = exit_signal;
  const auto pid =
      static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (pid == 0) _exit(0);
  return pid;
}

[[noreturn]] void Serve(bool clients_children) {
  char request;
  while (read(kServerSocket, &request, 1) == 1) {
    int pidfd = -1;
    const pid_t pid = CloneAndExit(clients_children ? CLONE_PARENT : 0,
                                   clients_children ? 0 : SIGCHLD, &pidfd);
    if (pid < 0 || !SendChild(kServerSocket, pid, pidfd)) _exit(1);
    close(pidfd);
    if (clients_children) continue;
    siginfo_t info;
    waitid(P_PID, pid, &info, WEXITED);
    if (write(kServerSocket, &info.si_status, sizeof(int)) < 0) _exit(1);
  }
  _exit(0);
}

absl::StatusOr<pid_t> SpawnSelf(const char* role, int socket) {
  char program[] = "/proc/self/exe";
  char* const argv[] = {program, const_cast<char*>(role), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (socket >= 0) {
    posix_spawn_file_actions_adddup2(&actions, socket, kServerSocket);
  }
  pid_t pid = -1;
  const int error =
      posix_spawn(&pid, program, &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, "posix_spawn");
  return pid;
}

absl::Status WaitForExit(idtype_t kind, id_t id) {
  siginfo_t info = {};
  // A child of CLONE_PARENT has the exit signal of the server, none of its own.
  const int result =
      RetryOnEintr([&] { return waitid(kind, id, &info, WEXITED | __WALL); });
  if (result != 0) return ErrnoStatus(errno, "waitid");
  if (info.si_code == CLD_EXITED && info.si_status == 0) {
    return absl::OkStatus();
  }
  return absl::InternalError("a child that only exits has failed");
}

}  // namespace

void ServeStartFloor(int argc, char** argv) {
  const absl::string_view role = argc > 1 ? argv[1] : "";
  if (role == kExit) std::exit(0);
  if (role == kServeOwn) Serve(/*clients_children=*/false);
  if (role == kServeClients) Serve(/*clients_children=*/true);
}

absl::Status ForkAndWait() {
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) _exit(0);
  return WaitForExit(P_PID, static_cast<id_t>(pid));
}

absl::Status SpawnAndWait() {
  MP_ASSIGN_OR_RETURN(const pid_t pid, SpawnSelf(kExit, /*socket=*/-1));
  return WaitForExit(P_PID, static_cast<id_t>(pid));
}

absl::StatusOr<BareForkServer> BareForkServer::Start(Parent parent) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  Fd ours(ends[0]);
  // Not in the place of its copy, which would stay close-on-exec.
  const Fd theirs = Fd(fcntl(ends[1], F_DUPFD_CLOEXEC, kServerSocket + 1));
  close(ends[1]);
  MP_ASSIGN_OR_RETURN(
      const pid_t pid,
      SpawnSelf(parent == Parent::kClient ? kServeClients : kServeOwn,
                theirs.get()));
  return BareForkServer(parent, std::move(ours), pid);
}

BareForkServer::~BareForkServer() {
  if (!socket_.is_open()) return;  // moved from
  socket_.Close();
  RetryOnEintr([&] { return waitpid(pid_, nullptr, 0); });
}

absl::Status BareForkServer::StartAndJoin() {
  const char request = 0;
  if (send(socket_.get(), &request, 1, MSG_NOSIGNAL) != 1) {
    return ErrnoStatus(errno, "send");
  }
  MP_ASSIGN_OR_RETURN(const Fd pidfd, ReceiveChild(socket_.get()));
  if (parent_ == Parent::kClient) {
    return WaitForExit(kPidfd, static_cast<id_t>(pidfd.get()));
  }
  pollfd ended = {pidfd.get(), POLLIN, 0};
  poll(&ended, 1, -1);
  int status = -1;
  if (read(socket_.get(), &status, sizeof(status)) == sizeof(status) &&
      status == 0) {
    return absl::OkStatus();
  }
  return absl::UnavailableError("the bare fork server sent no exit code");
}

}  // namespace mp::internal
