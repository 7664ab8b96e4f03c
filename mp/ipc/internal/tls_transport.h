#ifndef MP_IPC_INTERNAL_TLS_TRANSPORT_H_
#define MP_IPC_INTERNAL_TLS_TRANSPORT_H_

#include <cstddef>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/ipc/internal/tls_engine.h"
#include "mp/ipc/internal/tls_handshake.h"
#include "mp/ipc/internal/tls_owner.h"
#include "mp/ipc/internal/transport.h"

namespace mp::internal {

// Carries a Connection's bytes over TLS.
//
// One mutex guards the state of both directions, which belong together in TLS.
// Nobody waits while holding it, so that one who waits to receive does not keep
// another from sending.
//
// Errors of ReadSome(), besides those of FrameStream:
//   kUnavailable         the stream ended without a goodbye, between records.
//   kFailedPrecondition  in a forked child.
//
// Owns:    the socket, and the keys.
// Threads: as of Transport.
// Fork:    of use in the process that made it only. A child says no goodbye.
// Death:   the goodbye is what an end of the stream needs to be an orderly one:
//          one that is cut off looks the same as a killed process.
class TlsTransport : public Transport {
 public:
  // How long the destructor waits for room for the goodbye, while the other end
  // is behind by a whole buffer of the kernel's.
  static constexpr absl::Duration kGoodbyeTimeout = absl::Seconds(1);

  // Goes on after a handshake that is done.
  explicit TlsTransport(TlsHandshake handshake);
  ~TlsTransport() override;

  absl::Status WriteAll(absl::Span<const absl::string_view> pieces,
                        const Deadline& deadline, size_t* done) override;
  absl::StatusOr<size_t> ReadSome(absl::Span<char> into,
                                  const Deadline& deadline) override;
  absl::string_view name() const override { return "TLS"; }
  int fd() const override { return socket_.get(); }
  bool HasBuffered() const override;

 private:
  absl::Status CheckOwner() const;
  absl::Status EncryptAndFlush(absl::string_view bytes,
                               const Deadline& deadline);
  absl::Status FlushAll(const Deadline& deadline);
  void SayGoodbye();

  const Fd socket_;
  const TlsOwner owner_;
  mutable ForkSafeMutex mutex_;
  // By pointer, so that a forked child can leave it alone.
  std::unique_ptr<TlsEngine> engine_ ABSL_GUARDED_BY(mutex_);
  // Whether all that was to be sent was.
  bool send_failed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TLS_TRANSPORT_H_
