#include "mp/ipc/internal/tls_transport.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/tls_engine.h"
#include "mp/ipc/internal/tls_handshake.h"

namespace mp::internal {
namespace {

constexpr size_t kRecordBytes = TlsEngine::kRecordBytes;

// What is encrypted at once, and then sent by one system call.
constexpr size_t kBatchBytes = 4 * kRecordBytes;

// Cuts pieces that follow one another into what goes into a batch of records: a
// short piece, such as the header of a message, shares one with what follows.
class Batches {
 public:
  explicit Batches(absl::Span<const absl::string_view> pieces)
      : pieces_(pieces) {
    SkipEmpty();
  }

  bool empty() const { return pieces_.empty(); }

  // Returns the next bytes, until the next call.
  absl::string_view Next() {
    if (pieces_.size() == 1 || Left() >= kRecordBytes) return Take(kBatchBytes);
    size_t filled = 0;
    while (!empty() && filled < record_.size()) {
      const absl::string_view part = Take(record_.size() - filled);
      std::memcpy(record_.data() + filled, part.data(), part.size());
      filled += part.size();
    }
    return {record_.data(), filled};
  }

 private:
  size_t Left() const { return pieces_.front().size() - offset_; }

  // Returns up to `limit` bytes of the first piece that is left.
  absl::string_view Take(size_t limit) {
    const absl::string_view part = pieces_.front().substr(offset_, limit);
    offset_ += part.size();
    SkipEmpty();
    return part;
  }

  void SkipEmpty() {
    while (!empty() && Left() == 0) {
      pieces_.remove_prefix(1);
      offset_ = 0;
    }
  }

  absl::Span<const absl::string_view> pieces_;
  size_t offset_ = 0;  // in the first
  std::array<char, kRecordBytes> record_;
};

}  // namespace

TlsTransport::TlsTransport(TlsHandshake handshake)
    : socket_(std::move(handshake.socket_)),
      engine_(std::make_unique<TlsEngine>(std::move(handshake.engine_))) {}

TlsTransport::~TlsTransport() {
  if (owner_.IsThisProcess()) {
    SayGoodbye();
    return;
  }
  // In a forked child. If another thread of the parent was busy with it at the
  // fork, it is in no state to be taken apart.
  const bool at_rest = mutex_.LockUntil(Deadline(absl::ZeroDuration()));
  if (!at_rest) {
    [[maybe_unused]] TlsEngine* const left_alone = engine_.release();
    return;
  }
  engine_.reset();
  mutex_.Unlock();
}

void TlsTransport::SayGoodbye() {
  {
    ForkSafeLock lock(mutex_);
    // After half a message the end is none in order.
    if (send_failed_) return;
    engine_->SayGoodbye();
  }
  FlushAll(Deadline(kGoodbyeTimeout)).IgnoreError();
}

absl::Status TlsTransport::CheckOwner() const {
  if (owner_.IsThisProcess()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the TLS connection is another process's, from which this one was "
      "forked; connect anew");
}

absl::Status TlsTransport::WriteAll(absl::Span<const absl::string_view> pieces,
                                    const Deadline& deadline, size_t* done) {
  *done = 0;
  MP_RETURN_IF_ERROR(CheckOwner());
  // What has been encrypted has to go out, so that there is no way back.
  MP_ASSIGN_OR_RETURN(const bool room, WaitForFd(fd(), POLLOUT, deadline));
  if (!room) {
    return absl::DeadlineExceededError(
        "the other end did not make room in time");
  }
  Batches batches(pieces);
  while (!batches.empty()) {
    const absl::string_view batch = batches.Next();
    *done += batch.size();
    MP_RETURN_IF_ERROR(EncryptAndFlush(batch, deadline));
  }
  return absl::OkStatus();
}

absl::Status TlsTransport::EncryptAndFlush(absl::string_view bytes,
                                           const Deadline& deadline) {
  absl::Status status;
  {
    ForkSafeLock lock(mutex_);
    status = engine_->Encrypt(bytes);
  }
  if (status.ok()) status = FlushAll(deadline);
  if (!status.ok()) {
    ForkSafeLock lock(mutex_);
    send_failed_ = true;
  }
  return status;
}

absl::Status TlsTransport::FlushAll(const Deadline& deadline) {
  bool expired = false;
  while (true) {
    {
      ForkSafeLock lock(mutex_);
      MP_ASSIGN_OR_RETURN(const bool sent, engine_->Flush());
      if (sent) return absl::OkStatus();
    }
    if (expired) {
      return absl::DeadlineExceededError(
          "the time ran out in the middle of a message");
    }
    // A socket polls as writable only once most of it is free, so there may be
    // room at the end all the same.
    MP_ASSIGN_OR_RETURN(const bool ready, WaitForFd(fd(), POLLOUT, deadline));
    expired = !ready;
  }
}

absl::StatusOr<size_t> TlsTransport::ReadSome(absl::Span<char> into,
                                              const Deadline& deadline) {
  MP_RETURN_IF_ERROR(CheckOwner());
  while (true) {
    {
      ForkSafeLock lock(mutex_);
      MP_ASSIGN_OR_RETURN(const std::optional<size_t> got, engine_->Read(into));
      if (got.has_value()) return *got;
    }
    MP_ASSIGN_OR_RETURN(const bool ready, WaitForFd(fd(), POLLIN, deadline));
    if (!ready) return absl::DeadlineExceededError("no message came in time");
  }
}

bool TlsTransport::HasBuffered() const {
  if (!owner_.IsThisProcess()) return false;
  ForkSafeLock lock(mutex_);
  return engine_->HasBuffered();
}

}  // namespace mp::internal
