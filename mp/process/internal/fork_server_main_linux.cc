#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/frame.h"
#include "mp/base/io.h"
#include "mp/base/pidfd.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/finalizer.h"
#include "mp/process/internal/boot.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/children.h"
#include "mp/process/internal/crash_handler.h"
#include "mp/process/internal/environment.h"
#include "mp/process/internal/fork_protocol.h"
#include "mp/process/internal/fork_server_main.h"
#include "mp/process/internal/process_exit.h"
#include "mp/process/internal/runner.h"
#include "mp/process/internal/thread_count.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"

namespace mp::internal {
namespace {

// What the C library keeps in the thread's own memory and a bare clone3() would
// leave wrong in the child: its tid, and the list of robust mutexes.
struct ThreadArea {
  int* tid = nullptr;
  void* robust_list = nullptr;
  size_t robust_list_bytes = 0;
};

std::optional<ThreadArea> FindThreadArea() {
  ThreadArea area;
  if (prctl(PR_GET_TID_ADDRESS, &area.tid) != 0 || area.tid == nullptr ||
      *area.tid != gettid() ||
      syscall(SYS_get_robust_list, 0, &area.robust_list,
              &area.robust_list_bytes) != 0) {
    return std::nullopt;
  }
  return area;
}

// fork(2), but for the parent that the child gets, and for the handlers of
// pthread_atfork(), which a process of one thread has no need of.
pid_t Clone(const ThreadArea& area, uint64_t flags, uint64_t exit_signal,
            ForkLedger* ledger, int* pidfd) {
  clone_args arguments = {};
  arguments.flags = flags | CLONE_PIDFD | CLONE_PARENT_SETTID |
                    CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
  arguments.pidfd = reinterpret_cast<uint64_t>(pidfd);
  arguments.parent_tid = reinterpret_cast<uint64_t>(&ledger->child);
  arguments.child_tid = reinterpret_cast<uint64_t>(area.tid);
  arguments.exit_signal = exit_signal;
  const pid_t pid =
      static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (pid == 0) {
    syscall(SYS_set_robust_list, area.robust_list, area.robust_list_bytes);
  }
  return pid;
}

// Whether this thread's C library knows its tid, as seen through the one
// function that shows it: the clock's id contains it (man 3
// pthread_getcpuclockid; kernel include/linux/posix-timers.h).
bool LibraryKnowsTid() {
  clockid_t clock;
  if (pthread_getcpuclockid(pthread_self(), &clock) != 0) return false;
  return ~(clock >> 3) == gettid();
}

// Tries Clone() out on a child of our own.
bool CloneWorks(const ThreadArea& area) {
  ForkLedger ledger;
  int pidfd = -1;
  const pid_t pid = Clone(area, 0, SIGCHLD, &ledger, &pidfd);
  if (pid < 0) return false;
  if (pid == 0) _exit(LibraryKnowsTid() ? 0 : 1);
  const Fd owned_pidfd(pidfd);
  int status = 0;
  RetryOnEintr([&] { return waitpid(pid, &status, 0); });
  return status == 0 && ledger.child == pid;
}

// One child, while the server is its parent.
struct ServersChild {
  Fd pidfd;
  Fd exit_pipe;
};

class Server {
 public:
  Server(Fd socket, const ChildSetup& setup)
      : socket_(std::move(socket)), setup_(setup) {}

  // Serves until the client is gone.
  [[noreturn]] void Run() {
    BlockSignals();
    Rehearse();
    absl::Status status = Meet();
    while (status.ok()) status = ServeOne();
    // There is nobody to tell: the client sees the end of the socket.
    _exit(absl::IsOutOfRange(status) ? 0 : kExitCodeFailed);
  }

 private:
  // Not ignored: that a child would have to undo, where it unblocks all signals
  // anyway, and finds none pending (man 7 signal).
  static void BlockSignals() {
    sigset_t signals;
    sigemptyset(&signals);
    // Ctrl-C is for the client and its children.
    sigaddset(&signals, SIGINT);
    // An exit pipe may have nobody to read it any more.
    sigaddset(&signals, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  }

  // Does here, once, what each child would otherwise have to: a page that it
  // writes to is copied for it, and a function that it calls for the first time
  // is looked for by the dynamic linker.
  static void Rehearse() {
    DetachStdin();
    InstallCrashHandlers();
    TakeOverFinalizersAtExit();                    // it has no exit handlers
    RunFinalizers(/*min_priority=*/std::nullopt);  // there are none
    Children::Get().FinishAll();                   // nor of these
    FlushStdio();
  }

  absl::Status Meet() {
    MP_ASSIGN_OR_RETURN(FrameReader::Frame hello, Receive());
    if (hello.fds.empty()) return absl::DataLossError("no ledger");
    void* const page = mmap(nullptr, kForkLedgerBytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED, hello.fds[0].get(), 0);
    if (page == MAP_FAILED) return ErrnoStatus(errno, "mmap(memfd)");
    madvise(page, kForkLedgerBytes, MADV_DONTFORK);  // it is the server's
    ledger_ = static_cast<ForkLedger*>(page);
    // Thread Sanitizer has to see each fork.
    // And process 1 of a PID namespace has no parent to give its children
    // (man 2 clone, CLONE_PARENT).
    if (!kThreadSanitizer && getpid() != 1) area_ = FindThreadArea();
    if (area_.has_value() && !CloneWorks(*area_)) area_.reset();
    ForkWelcome welcome;
    welcome.mode = area_.has_value() ? ForkServerMode::kClientsChildren
                                     : ForkServerMode::kServersChildren;
    Decoder decoder(Parcel{std::move(hello.bytes), {}});
    MP_ASSIGN_OR_RETURN(auto message, decoder.Read<ForkHello>());
    hello.fds.erase(hello.fds.begin());
    if (!message.preload.empty()) {
      welcome.preloaded =
          Preload({std::move(message.preload), std::move(hello.fds)});
    }
    return Send(welcome, {});
  }

  // Makes the call that the client has asked for.
  static absl::Status Preload(Parcel parcel) {
    Decoder decoder(std::move(parcel));
    MP_ASSIGN_OR_RETURN(const std::unique_ptr<Call> call,
                        ReadCallCatching(decoder));
    return RunCatching([&] { return call->Run(); });
  }

  absl::Status ServeOne() {
    MP_RETURN_IF_ERROR(AwaitRequest());
    MP_ASSIGN_OR_RETURN(FrameReader::Frame frame, Receive());
    Decoder decoder(Parcel{std::move(frame.bytes), {}});
    MP_ASSIGN_OR_RETURN(auto request, decoder.Read<ForkRequest>());
    if (request.environment.has_value()) {
      ReplaceEnvironment(*std::move(request.environment));
    }
    const size_t expected = (area_.has_value() ? 0 : 1) + request.has_cwd +
                            request.has_stdout + request.has_stderr;
    if (frame.fds.size() < expected) {
      return absl::DataLossError("the request lacks descriptors");
    }
    ForkReply reply;
    Fd pidfd;
    const absl::StatusOr<pid_t> pid = MakeChild(request, frame.fds, pidfd);
    if (pid.ok()) {
      reply.pid = *pid;
    } else {
      reply.error = pid.status();
    }
    std::vector<int> fds;
    if (pidfd.is_open()) fds.push_back(pidfd.get());
    MP_RETURN_IF_ERROR(Send(reply, fds));
    if (pid.ok() && !area_.has_value()) {
      children_.push_back({std::move(pidfd), std::move(frame.fds[0])});
    }
    return absl::OkStatus();
  }

  absl::StatusOr<pid_t> MakeChild(ForkRequest& request, std::vector<Fd>& fds,
                                  Fd& pidfd) {
    MP_RETURN_IF_ERROR(CheckThreads());
    int raw_pidfd = -1;
    const pid_t pid = area_.has_value()
                          ? Clone(*area_, CLONE_PARENT, 0, ledger_, &raw_pidfd)
                          : fork();
    if (pid < 0) return ErrnoStatus(errno, "fork server: clone");
    if (pid == 0) RunChild(request, fds);
    if (!area_.has_value()) {
      ledger_->child = pid;
      MP_ASSIGN_OR_RETURN(pidfd, OpenPidfd(pid));
    } else {
      pidfd = Fd(raw_pidfd);
    }
    return pid;
  }

  [[noreturn]] void RunChild(ForkRequest& request, std::vector<Fd>& fds) {
    BecomeForkedProcess();
    socket_.Close();
    children_.clear();
    UnblockSignals();
    size_t next = area_.has_value() ? 0 : 1;
    if (!area_.has_value()) ReportExitTo(std::move(fds[0]));
    if (request.has_cwd && fchdir(fds[next++].get()) != 0) {
      Complain(absl::StrCat("fchdir: ", strerror(errno)));
    }
    ReplaceStdio(STDOUT_FILENO, request.has_stdout, fds, next);
    ReplaceStdio(STDERR_FILENO, request.has_stderr, fds, next);
    if (!request.has_stdout || !request.has_stderr) FillStdio();
    fds.erase(fds.begin(), fds.begin() + static_cast<ptrdiff_t>(next));
    ExitProcess(
        RunPackedChild({std::move(request.boot), std::move(fds)}, setup_));
  }

  static void ReplaceStdio(int target, bool is_open, const std::vector<Fd>& fds,
                           size_t& next) {
    if (is_open) {
      dup2(fds[next++].get(), target);
    } else {
      close(target);
    }
  }

  static absl::Status CheckThreads() {
    MP_ASSIGN_OR_RETURN(const int threads, CountThreads());
    if (threads <= 1) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "the fork server has ", threads,
        " threads, started before mp::Init(), and a fork would lose all but "
        "one; start them later, or use the start method spawn"));
  }

  // Waits for the client, and meanwhile reaps the server's own children.
  absl::Status AwaitRequest() {
    while (true) {
      std::vector<pollfd> fds = {{socket_.get(), POLLIN, 0}};
      for (const ServersChild& child : children_) {
        fds.push_back({child.pidfd.get(), POLLIN, 0});
      }
      MP_RETURN_IF_ERROR(
          PollUntil(absl::MakeSpan(fds), Deadline(absl::InfiniteDuration()))
              .status());
      for (size_t i = fds.size(); i-- > 1;) {
        if (fds[i].revents != 0) Report(i - 1);
      }
      if (fds[0].revents != 0) return absl::OkStatus();
    }
  }

  // Tells the exit code of a child that has ended.
  void Report(size_t index) {
    const absl::StatusOr<std::optional<int>> code =
        ReapChild(children_[index].pidfd);
    if (code.ok() && code->has_value()) {
      const int value = **code;
      // Nobody may be there to read it any more.
      WriteAll(children_[index].exit_pipe.get(),
               absl::string_view(reinterpret_cast<const char*>(&value),
                                 sizeof(value)))
          .IgnoreError();
    }
    children_.erase(children_.begin() + static_cast<ptrdiff_t>(index));
  }

  absl::StatusOr<FrameReader::Frame> Receive() {
    FrameReader reader;
    return reader.Read(socket_.get(), UINT64_MAX,
                       Deadline(absl::InfiniteDuration()));
  }

  template <typename T>
  absl::Status Send(const T& value, absl::Span<const int> fds) {
    Encoder encoder;
    encoder.Write(value);
    MP_ASSIGN_OR_RETURN(const Parcel parcel, std::move(encoder).Finish());
    bool cut;
    return WriteFrame(socket_.get(), parcel.bytes, fds,
                      Deadline(absl::InfiniteDuration()), &cut);
  }

  Fd socket_;
  const ChildSetup& setup_;
  ForkLedger* ledger_ = nullptr;
  // Where to patch a child up that has the client for a parent; without it the
  // server is the parent.
  std::optional<ThreadArea> area_;
  std::vector<ServersChild> children_;
};

}  // namespace

void RunForkServer(Fd socket, const ChildSetup& setup) {
  Server(std::move(socket), setup).Run();
}

}  // namespace mp::internal
