#ifndef MP_IPC_INTERNAL_GUESTS_H_
#define MP_IPC_INTERNAL_GUESTS_H_

#include <cstddef>
#include <list>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/ipc/address.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/handshake.h"
#include "mp/process/auth_key.h"

namespace mp::internal {

// The clients of a listener that are in the handshake, all at once.
//
// Each is watched by an epoll object of the caller's, which thus becomes
// readable when one has said something.
//
// Threads: not safe.
class Guests {
 public:
  struct Options {
    AuthKey authkey;
    bool allow_md5 = false;
    absl::Duration timeout;
  };

  // One who has proved to have the key.
  struct Friend {
    Connection connection;
    Address peer;
  };

  explicit Guests(Options options) : options_(std::move(options)) {}

  // Begins the handshake with a client.
  absl::Status Add(Connection connection, Address peer, int epoll);

  // Goes on with all handshakes, without waiting. Returns the first client that
  // is through, if one is, and has no more to do with it.
  //
  // Errors:
  //   kUnauthenticated  a client is not what it should be, or late. It is gone.
  absl::StatusOr<std::optional<Friend>> GoOn(int epoll);

  size_t size() const { return guests_.size(); }

  // How long until the first of them is late.
  absl::Duration TimeLeft() const;

  // Sends all away.
  void Clear() { guests_.clear(); }

 private:
  struct Guest;

  absl::Status GoOnWith(Guest& guest) const;

  const Options options_;
  std::list<Guest> guests_;
};

struct Guests::Guest {
  Guest(Connection connection, Address peer, const Options& options)
      : connection(std::move(connection)),
        peer(std::move(peer)),
        handshake(Handshake::Role::kListener, options.authkey,
                  {.allow_md5 = options.allow_md5}),
        deadline(options.timeout) {}

  Connection connection;
  Address peer;
  Handshake handshake;
  Deadline deadline;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_GUESTS_H_
