#ifndef MP_IPC_INTERNAL_TLS_ENGINE_H_
#define MP_IPC_INTERNAL_TLS_ENGINE_H_

#include <openssl/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/ipc/internal/tls_context.h"

namespace mp::internal {

// The TLS of one connection over a socket, which never waits: each call does
// what can be done now.
//
// Example:
//   MP_RETURN_IF_ERROR(engine.Encrypt("hello"));
//   while (true) {
//     MP_ASSIGN_OR_RETURN(const bool sent, engine.Flush());
//     if (sent) break;
//     ...  // poll the socket for POLLOUT
//   }
//
// What it has encrypted lies in a buffer until the socket takes it, so that
// neither direction ever waits for the other: OpenSSL sees a wire that always
// takes what it writes. Nothing is read beyond the record that is asked for.
//
// Units:   bytes.
// Owns:    its keys, wiped when it goes; not the socket.
// Threads: not safe.
// Fork:    for one process only.
// Source:  man 7 ssl. man 3 BIO_meth_new.
class TlsEngine {
 public:
  // The most that a record holds (RFC 8446, section 5.1).
  static constexpr size_t kRecordBytes = size_t{1} << 14;

  // A key serves for so many records, a third of what it may (RFC 8446, section
  // 5.5), and then the next one follows from it. OpenSSL would go on with it.
  static constexpr uint64_t kRecordsPerKey = uint64_t{1} << 23;

  // `context` has to last until the handshake is over. `server_name` is what the
  // certificate of a server has to have, by name or by number; for clients that
  // go by certificates.
  static absl::StatusOr<TlsEngine> Create(const TlsContext& context, int socket,
                                          const std::string& server_name);

  TlsEngine(TlsEngine&& other) noexcept;
  TlsEngine& operator=(TlsEngine&& other) noexcept;
  ~TlsEngine();

  // Goes on with the handshake. Returns whether it is over, and the other end
  // is a friend. In any case there may be something to Flush().
  //
  // Errors:
  //   kUnauthenticated  it is none, or does not talk TLS 1.3.
  //   kUnavailable      it is gone.
  absl::StatusOr<bool> Handshake();

  // After how many records the key changes, for tests.
  void set_records_per_key(uint64_t records) { records_per_key_ = records; }

  // Encrypts `bytes`, after which they have to be sent.
  absl::Status Encrypt(absl::string_view bytes);

  // Sends what the socket takes. Returns whether nothing is left.
  //
  // Errors:
  //   kUnavailable  the other end is gone.
  absl::StatusOr<bool> Flush();

  // Reads 1 to into.size() bytes; 0 says that the other end has closed in
  // order, nullopt that nothing can be read now. Errors are final.
  //
  // Errors:
  //   kUnavailable  the stream ended between two records, without a goodbye: the
  //                 other end was killed, or somebody in between cut it.
  //   kDataLoss     it ended inside a record, or has been changed on its way.
  absl::StatusOr<std::optional<size_t>> Read(absl::Span<char> into);

  // From now on what goes wrong is not for want of trust any more.
  void SetTrusted() { trusted_ = true; }

  // Whether there are bytes to Read() that have left the socket.
  bool HasBuffered() const;

  // Says goodbye, which has to be sent then.
  void SayGoodbye();

 private:
  struct FreeSsl {
    void operator()(SSL* ssl) const;
  };
  using Ssl = std::unique_ptr<SSL, FreeSsl>;
  // The other side of OpenSSL: what it reads from and writes to.
  struct Wire;

  TlsEngine(bool by_key, std::unique_ptr<Wire> wire, Ssl ssl);
  absl::Status CheckFriend() const;
  // Whether a call that returned `result` has failed, and need not be repeated
  // once there is more to read.
  bool HasFailed(int result) const;
  absl::StatusOr<size_t> ReadEnd(int result) const;

  bool by_key_;
  std::unique_ptr<Wire> wire_;
  Ssl ssl_;  // goes before the wire
  bool trusted_ = false;
  uint64_t records_per_key_ = kRecordsPerKey;
  uint64_t records_ = 0;  // encrypted with the present key
  // The end, once there is one: 0 or an error.
  std::optional<absl::StatusOr<size_t>> read_end_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TLS_ENGINE_H_
