#include "mp/process/internal/fork_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/bury.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/frame.h"
#include "mp/base/io.h"
#include "mp/base/pidfd.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/environment.h"
#include "mp/process/internal/fork_closed.h"
#include "mp/process/internal/fork_protocol.h"
#include "mp/process/internal/inheritance.h"
#include "mp/process/internal/runner.h"
#include "mp/process/internal/self_image.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"

namespace mp::internal {
namespace {

// How often a child is tried for while the server keeps dying.
constexpr int kAttempts = 5;

// A server that has not answered by then is stopped or broken, and replaced.
constexpr absl::Duration kPatience = absl::Seconds(10);

constexpr uint64_t kMaxReplyBytes = 1 << 16;

template <typename T>
absl::StatusOr<std::string> ToBytes(const T& value) {
  Encoder encoder;
  encoder.Write(value);
  MP_ASSIGN_OR_RETURN(Parcel parcel, std::move(encoder).Finish());
  return std::move(parcel.bytes);
}

template <typename T>
absl::StatusOr<T> FromBytes(std::string bytes) {
  Decoder decoder(Parcel{std::move(bytes), {}});
  return decoder.Read<T>();
}

// The error that makes StartChild() try a new server.
absl::Status ServerIsGone() {
  return absl::UnavailableError("the fork server died");
}

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

absl::StatusOr<Fd> CreateLedger() {
  Fd ledger(memfd_create("mp-fork-ledger", MFD_CLOEXEC));
  if (!ledger.is_open()) return ErrnoStatus(errno, "memfd_create");
  if (ftruncate(ledger.get(), kForkLedgerBytes) != 0) {
    return ErrnoStatus(errno, "ftruncate(memfd)");
  }
  return ledger;
}

struct ExitPipe {
  Fd reader;
  Fd writer;
};

absl::StatusOr<ExitPipe> CreateExitPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
  return ExitPipe{Fd(ends[0]), Fd(ends[1])};
}

}  // namespace

ForkServer& ForkServer::Get() {
  static ForkServer& server = *new ForkServer;  // outlives exit handlers
  return server;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] static const bool made_early = (ForkServer::Get(), true);

absl::StatusOr<ForkServer::Started> ForkServer::StartChild(
    const Parcel& packed) {
  ForkSafeLock lock(mutex_);
  absl::StatusOr<Started> started = ServerIsGone();
  for (int i = 0; i < kAttempts && absl::IsUnavailable(started.status()); ++i) {
    const absl::Status running = EnsureRunning();
    if (absl::IsFailedPrecondition(running)) return running;
    if (running.ok()) {
      started = TryStart(packed);
    } else {
      Kill();  // whatever there is of it
      started = running;
    }
  }
  return started;
}

absl::Status ForkServer::EnsureRunning() {
  Inheritance inheritance = CurrentInheritance();
  // A process that has given up rights is not to start others that have them.
  if (server_ != nullptr && inheritance != inheritance_) Kill();
  if (server_ != nullptr) return absl::OkStatus();
  inheritance_ = std::move(inheritance);
  MP_ASSIGN_OR_RETURN(const Fd ledger, CreateLedger());
  void* const page = mmap(nullptr, kForkLedgerBytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED, ledger.get(), 0);
  if (page == MAP_FAILED) return ErrnoStatus(errno, "mmap(memfd)");
  madvise(page, kForkLedgerBytes, MADV_DONTFORK);  // it is this process's
  ledger_ = new (page) ForkLedger();
  MP_ASSIGN_OR_RETURN(SocketPair sockets, CreateSocketPair());
  MP_ASSIGN_OR_RETURN(ExecutedProcess process,
                      ExecuteSelf(Role::kForkServer, sockets.second.get()));
  server_ =
      std::make_shared<ProcessChild>(process.pid, std::move(process.pidfd));
  socket_ = std::move(sockets.first);
  sockets.second.Close();
  return Greet(ledger);
}

absl::Status ForkServer::Greet(const Fd& ledger) {
  std::vector<int> fds = {ledger.get()};
  Parcel preload;
  if (preload_ != nullptr) {
    MP_ASSIGN_OR_RETURN(preload, EncodeCall(*preload_));
    for (const Fd& fd : preload.handles) fds.push_back(fd.get());
  }
  MP_ASSIGN_OR_RETURN(const std::string bytes,
                      ToBytes(ForkHello{std::move(preload.bytes)}));
  MP_ASSIGN_OR_RETURN(
      FrameReader::Frame reply,
      Ask(bytes, fds,
          preload_ == nullptr ? kPatience : absl::InfiniteDuration()));
  MP_ASSIGN_OR_RETURN(const auto welcome,
                      FromBytes<ForkWelcome>(std::move(reply.bytes)));
  mode_ = welcome.mode;
  return JudgePreload(welcome.preloaded);
}

absl::Status ForkServer::JudgePreload(const absl::Status& preloaded) {
  if (preloaded.ok()) return preloaded;
  const std::string problem =
      absl::StrCat("the fork server's preload: ", preloaded.ToString());
  if (on_preload_error_ == PreloadErrors::kWarn) Complain(problem);
  if (on_preload_error_ != PreloadErrors::kFail) return absl::OkStatus();
  Kill();
  return absl::FailedPreconditionError(problem);
}

absl::Status ForkServer::SetPreload(std::unique_ptr<Call> call,
                                    PreloadErrors on_error) {
  ForkSafeLock lock(mutex_);
  if (server_ != nullptr) {
    return absl::FailedPreconditionError(
        "SetForkServerPreload: the fork server runs already; call it before "
        "the first Process::Start()");
  }
  preload_ = std::move(call);
  on_preload_error_ = on_error;
  return absl::OkStatus();
}

// Sends a message and returns the answer; kUnavailable if the server is gone.
absl::StatusOr<FrameReader::Frame> ForkServer::Ask(const std::string& bytes,
                                                   absl::Span<const int> fds,
                                                   absl::Duration patience) {
  const Deadline deadline(patience);
  bool cut;
  const absl::Status sent =
      WriteFrame(socket_.get(), bytes, fds, deadline, &cut);
  if (absl::IsResourceExhausted(sent) || absl::IsInvalidArgument(sent)) {
    return sent;
  }
  if (!sent.ok()) return ServerIsGone();
  // It takes a while, so there is no use in looking before.
  MP_RETURN_IF_ERROR(WaitForFd(socket_.get(), POLLIN, deadline).status());
  FrameReader reader;
  absl::StatusOr<FrameReader::Frame> reply =
      reader.Read(socket_.get(), kMaxReplyBytes, deadline);
  if (!reply.ok() && !absl::IsResourceExhausted(reply.status())) {
    return ServerIsGone();
  }
  return reply;
}

absl::StatusOr<ForkServer::Started> ForkServer::TryStart(const Parcel& packed) {
  std::vector<int> fds;
  ExitPipe exit_pipe;
  std::optional<ForkClosed> exit_closed;
  if (mode_ == ForkServerMode::kServersChildren) {
    MP_ASSIGN_OR_RETURN(exit_pipe, CreateExitPipe());
    exit_closed.emplace(exit_pipe.writer);
    fds.push_back(exit_pipe.writer.get());
  }
  const Fd cwd(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  ForkRequest request;
  request.has_cwd = cwd.is_open();
  request.has_stdout = IsOpen(STDOUT_FILENO);
  request.has_stderr = IsOpen(STDERR_FILENO);
  if (request.has_cwd) fds.push_back(cwd.get());
  if (request.has_stdout) fds.push_back(STDOUT_FILENO);
  if (request.has_stderr) fds.push_back(STDERR_FILENO);
  request.boot = packed.bytes;
  for (const Fd& fd : packed.handles) fds.push_back(fd.get());
  std::vector<std::string> environment = CopyEnvironment();
  if (environment_ != environment) {
    request.environment = environment;
    environment_ = std::move(environment);
  }
  MP_ASSIGN_OR_RETURN(const std::string bytes, ToBytes(request));

  ledger_->child = 0;
  absl::StatusOr<FrameReader::Frame> frame = Ask(bytes, fds, kPatience);
  exit_closed.reset();
  exit_pipe.writer.Close();
  if (!frame.ok()) return AdoptOrphan(frame.status());
  MP_ASSIGN_OR_RETURN(ForkReply reply,
                      FromBytes<ForkReply>(std::move(frame->bytes)));
  if (absl::IsResourceExhausted(reply.error)) {
    // It has the limits of the time when it was started; the next one will have
    // today's.
    Kill();
  }
  MP_RETURN_IF_ERROR(reply.error);
  if (frame->fds.empty()) {
    return AdoptOrphan(ServerIsGone());
  }
  return std::make_shared<ProcessChild>(reply.pid, std::move(frame->fds[0]),
                                        std::move(exit_pipe.reader));
}

// There was no answer, maybe because the server died on the way. If the child
// was made by then it is ours; otherwise returns `error`.
absl::StatusOr<ForkServer::Started> ForkServer::AdoptOrphan(
    const absl::Status& error) {
  const ForkServerMode mode = mode_;
  ForkLedger* const ledger = std::exchange(ledger_, nullptr);
  Kill();
  const pid_t pid = ledger->child;
  munmap(ledger, kForkLedgerBytes);
  // A child of the server's own finds nobody at its socket, and exits.
  if (pid == 0 || mode != ForkServerMode::kClientsChildren) return error;
  absl::StatusOr<Fd> pidfd = OpenPidfd(pid);
  if (!pidfd.ok()) {
    if (!absl::IsNotFound(pidfd.status())) AbandonChild(pid);
    return absl::IsNotFound(pidfd.status()) ? error : pidfd.status();
  }
  return std::make_shared<ProcessChild>(pid, *std::move(pidfd));
}

void ForkServer::Kill() {
  environment_.reset();
  socket_.Close();
  if (server_ != nullptr) AbandonChild(*server_);
  server_.reset();
  if (ledger_ != nullptr) munmap(ledger_, kForkLedgerBytes);
  ledger_ = nullptr;
}

std::optional<pid_t> ForkServer::pid() {
  ForkSafeLock lock(mutex_);
  if (server_ == nullptr) return std::nullopt;
  return server_->pid();
}

void ForkServer::Stop() {
  ForkSafeLock lock(mutex_);
  Kill();
}

void ForkServer::Forget() {
  // A thread that is not in this process may be in the middle of StartChild(),
  // so nothing is destroyed; but the server is to see the end of its client.
  socket_.Close();
  mutex_.Reset();
  Bury(server_);
  ledger_ = nullptr;
}

}  // namespace mp::internal
