#include "examples/internal/hash_worker.h"

#include <poll.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "examples/internal/sha256_file.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"

namespace examples {
namespace {

// How often a worker says, within a file, how far it is, and looks whether
// anybody is still interested.
constexpr absl::Duration kReportEvery = absl::Milliseconds(100);

class HashWorker {
 public:
  HashWorker(mp::Connection connection, mp::Fd owner, Sha256FileHasher hasher)
      : connection_(std::move(connection)),
        owner_(std::move(owner)),
        hasher_(std::move(hasher)) {}

  // Returns OK if it was told that this was all.
  absl::Status Run() {
    MP_RETURN_IF_ERROR(Report({}));
    while (true) {
      MP_RETURN_IF_ERROR(Await(POLLIN, absl::InfiniteDuration()));
      MP_ASSIGN_OR_RETURN(const auto batch, connection_.Recv<HashBatch>());
      if (batch.files.empty()) return absl::OkStatus();
      for (const std::string& file : batch.files) {
        MP_RETURN_IF_ERROR(HashFile(file));
      }
    }
  }

 private:
  absl::Status HashFile(const std::string& file) {
    next_report_ = mp::Deadline(kReportEvery);
    absl::StatusOr<Sha256Digest> digest =
        hasher_.Hash(file, [&](size_t bytes) { return AfterRead(bytes); });
    MP_RETURN_IF_ERROR(broken_);
    return Report({.result = std::move(digest)});
  }

  absl::Status AfterRead(size_t bytes) {
    bytes_ += bytes;
    if (!next_report_.Expired()) return absl::OkStatus();
    next_report_ = mp::Deadline(kReportEvery);
    return broken_ = Report({});
  }

  absl::Status Report(HashReport report) {
    // Send() alone would wait for room even if the owner is dead.
    MP_RETURN_IF_ERROR(Await(POLLOUT, absl::InfiniteDuration()));
    report.bytes = std::exchange(bytes_, 0);
    return connection_.Send(report);
  }

  // Waits until the connection is ready. Returns kUnavailable if there is
  // nobody at its other end any more.
  absl::Status Await(short events, absl::Duration timeout) {
    pollfd fds[] = {{connection_.fileno(), events, 0},
                    {owner_.get(), POLLIN, 0}};
    MP_RETURN_IF_ERROR(
        mp::PollUntil(absl::MakeSpan(fds), mp::Deadline(timeout)).status());
    if ((fds[0].revents & POLLHUP) == 0 && fds[1].revents == 0) {
      return absl::OkStatus();
    }
    return absl::UnavailableError("the owner is gone");
  }

  mp::Connection connection_;
  const mp::Fd owner_;  // a pidfd, or none in a thread of the owner
  Sha256FileHasher hasher_;
  absl::Status broken_;  // why the connection is of no more use
  uint64_t bytes_ = 0;   // not reported yet
  mp::Deadline next_report_{kReportEvery};
};

// Opens what stands for the life of the owner: nothing in a thread of its own.
absl::StatusOr<mp::Fd> Watch(pid_t owner) {
  if (owner == getpid()) return mp::Fd();
  absl::StatusOr<mp::Fd> pidfd = mp::OpenPidfd(owner);
  if (!absl::IsNotFound(pidfd.status())) return pidfd;
  return absl::UnavailableError("the owner is gone");
}

absl::Status Work(mp::Connection connection, pid_t owner) {
  MP_ASSIGN_OR_RETURN(mp::Fd pidfd, Watch(owner));
  MP_ASSIGN_OR_RETURN(Sha256FileHasher hasher, Sha256FileHasher::Create());
  return HashWorker(std::move(connection), std::move(pidfd), std::move(hasher))
      .Run();
}

}  // namespace

absl::Status RunHashWorker(mp::Connection connection, pid_t owner) {
  const absl::Status end = Work(std::move(connection), owner);
  // An owner that is gone needs no telling: not even on stderr.
  const bool is_normal = absl::IsUnavailable(end) || absl::IsOutOfRange(end);
  return is_normal ? absl::OkStatus() : end;
}

}  // namespace examples
