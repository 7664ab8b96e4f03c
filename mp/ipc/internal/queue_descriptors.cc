#include "mp/ipc/internal/queue_descriptors.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace mp::internal {
namespace {

// SCM_MAX_FD of the kernel: what one datagram carries.
constexpr size_t kMaxPerDatagram = 253;

// What is looked at in one go, whatever a hostile process sends meanwhile.
constexpr int kMaxDrops = 4096;

// poll() does not tell of all room that there is, so it is looked for again.
constexpr absl::Duration kLookForRoom = absl::Milliseconds(20);

absl::StatusOr<std::pair<Fd, Fd>> CreateDatagramPair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  Fd first = Fd::AboveStdio(Fd(ends[0]));
  return std::pair(std::move(first), Fd::AboveStdio(Fd(ends[1])));
}

// A datagram with room for descriptors.
struct Datagram {
  explicit Datagram(size_t max_fds) {
    bytes = {&label, sizeof(label)};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    if (max_fds == 0) return;
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(max_fds * sizeof(int));
  }
  Datagram(const Datagram&) = delete;
  Datagram& operator=(const Datagram&) = delete;

  DescriptorsLabel label;
  iovec bytes;
  msghdr header = {};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxPerDatagram * sizeof(int))] = {};
};

// Returns an errno, 0 for none.
int SendDatagram(int socket, const DescriptorsLabel& label,
                 absl::Span<const Fd> fds) {
  Datagram datagram(fds.size());
  datagram.label = label;
  cmsghdr& control = *CMSG_FIRSTHDR(&datagram.header);
  control.cmsg_level = SOL_SOCKET;
  control.cmsg_type = SCM_RIGHTS;
  control.cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
  for (size_t i = 0; i < fds.size(); ++i) {
    const int fd = fds[i].get();
    std::memcpy(CMSG_DATA(&control) + i * sizeof(int), &fd, sizeof(fd));
  }
  const ssize_t sent = RetryOnEintr([&] {
    return sendmsg(socket, &datagram.header, MSG_DONTWAIT | MSG_NOSIGNAL);
  });
  return sent < 0 ? errno : 0;
}

std::vector<Fd> TakeFds(msghdr& header) {
  std::vector<Fd> fds;
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
       control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
      fds.push_back(Fd::AboveStdio(Fd(fd)));
    }
  }
  return fds;
}

struct Received {
  DescriptorsLabel label;
  std::vector<Fd> fds;
  bool cut = false;  // not all of them could be received
};

// Returns the first datagram, or none if there is none. With `flags` MSG_PEEK
// it stays, and the descriptors are others for the same files.
absl::StatusOr<std::optional<Received>> ReceiveDatagram(int socket, int flags,
                                                        size_t max_fds) {
  Datagram datagram(max_fds);
  const ssize_t size = RetryOnEintr([&] {
    return recvmsg(socket, &datagram.header,
                   flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  });
  if (size < 0 && errno == EAGAIN) return std::nullopt;
  if (size < 0) {
    return absl::DataLossError(absl::StrCat(
        "Queue: the socket of its descriptors is none: ", strerror(errno)));
  }
  Received received;
  received.fds = TakeFds(datagram.header);
  received.cut = (datagram.header.msg_flags & MSG_CTRUNC) != 0;
  if (size == sizeof(datagram.label)) received.label = datagram.label;
  return received;
}

absl::Status TooFewLeft(uint32_t count) {
  return absl::ResourceExhaustedError(absl::StrCat(
      "Queue::Get: the message has ", count,
      " descriptors, for which this process has no room (ulimit -n)"));
}

// Returns a socket that holds them all, and nothing to add to them.
absl::StatusOr<std::vector<Fd>> Bundle(const DescriptorsLabel& label,
                                       absl::Span<const Fd> fds) {
  MP_ASSIGN_OR_RETURN(auto ends, CreateDatagramPair());
  for (size_t sent = 0; sent < fds.size(); sent += kMaxPerDatagram) {
    const int error = SendDatagram(ends.first.get(), label,
                                   fds.subspan(sent, kMaxPerDatagram));
    if (error == EAGAIN) {
      return absl::InvalidArgumentError(
          absl::StrCat("Queue::Put: a value with ", fds.size(),
                       " descriptors; one message carries about ", sent));
    }
    if (error != 0) return ErrnoStatus(error, "Queue::Put: sendmsg");
  }
  std::vector<Fd> bundle;
  bundle.push_back(std::move(ends.second));
  return bundle;
}

absl::StatusOr<std::vector<Fd>> Unbundle(const DescriptorsLabel& label,
                                         const std::vector<Fd>& bundle) {
  if (bundle.size() != 1) return absl::DataLossError("Queue::Get: no bundle");
  std::vector<Fd> fds;
  while (fds.size() < label.count) {
    MP_ASSIGN_OR_RETURN(auto part,
                        ReceiveDatagram(bundle[0].get(), 0, kMaxPerDatagram));
    if (!part.has_value() || (part->fds.empty() && !part->cut)) {
      return absl::DataLossError("Queue::Get: a bundle lacks descriptors");
    }
    if (part->cut) return TooFewLeft(label.count);
    std::move(part->fds.begin(), part->fds.end(), std::back_inserter(fds));
  }
  return fds;
}

}  // namespace

absl::StatusOr<DescriptorsLabel> NewDescriptorsLabel(uint64_t number,
                                                     size_t count) {
  DescriptorsLabel label = {.number = number,
                            .count = static_cast<uint32_t>(count),
                            .bundled = count > kMaxPerDatagram ? 1u : 0u};
  // GRND_INSECURE never waits. (Linux 5.6.)
  const ssize_t drawn = RetryOnEintr([&] {
    return getrandom(&label.nonce, sizeof(label.nonce), GRND_INSECURE);
  });
  if (drawn < 0) return ErrnoStatus(errno, "getrandom");
  return label;
}

absl::StatusOr<QueueDescriptors> QueueDescriptors::Create() {
  MP_ASSIGN_OR_RETURN(auto ends, CreateDatagramPair());
  return QueueDescriptors(std::move(ends.first), std::move(ends.second));
}

absl::StatusOr<bool> QueueDescriptors::TrySend(DescriptorsLabel label,
                                               absl::Span<const Fd> fds) const {
  std::vector<Fd> bundle;
  if (label.bundled != 0) {
    MP_ASSIGN_OR_RETURN(bundle, Bundle(label, fds));
    fds = bundle;
  }
  const int error = SendDatagram(sending_.get(), label, fds);
  if (error == EAGAIN) return false;
  if (error == ETOOMANYREFS) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "Queue::Put: ", fds.size(), " more descriptors, and this user has as ",
        "many in messages as the system allows (ulimit -n)"));
  }
  if (error != 0) return ErrnoStatus(error, "Queue::Put: sendmsg");
  return true;
}

absl::Status QueueDescriptors::AwaitRoom(const Deadline& deadline) const {
  const Deadline look(std::min(kLookForRoom, deadline.Remaining()));
  pollfd entry = {sending_.get(), POLLOUT, 0};
  MP_RETURN_IF_ERROR(PollUntil(absl::MakeSpan(&entry, 1), look).status());
  if (!deadline.Expired()) return absl::OkStatus();
  return absl::DeadlineExceededError(
      "Queue::Put: the queue holds as many messages with descriptors as it "
      "can");
}

absl::StatusOr<std::vector<Fd>> QueueDescriptors::Receive(
    const DescriptorsLabel& label) const {
  Drop([&](const DescriptorsLabel& first) {
    return first.number < label.number ||
           (first.number == label.number && first.nonce != label.nonce);
  });
  // They stay until all have been received.
  MP_ASSIGN_OR_RETURN(
      auto first, ReceiveDatagram(receiving_.get(), MSG_PEEK, kMaxPerDatagram));
  if (!first.has_value() || first->label.number != label.number ||
      first->label.nonce != label.nonce) {
    return absl::NotFoundError("Queue::Get: the message had been taken");
  }
  if (first->cut) return TooFewLeft(label.count);
  (void)ReceiveDatagram(receiving_.get(), 0, 0);
  if (label.bundled != 0) return Unbundle(label, first->fds);
  if (first->fds.size() != label.count) {
    return absl::DataLossError(absl::StrCat("Queue::Get: ", first->fds.size(),
                                            " descriptors where ", label.count,
                                            " should be"));
  }
  return std::move(first->fds);
}

void QueueDescriptors::Drop(
    absl::FunctionRef<bool(const DescriptorsLabel&)> left_over) const {
  for (int drops = 0; drops < kMaxDrops; ++drops) {
    auto first = ReceiveDatagram(receiving_.get(), MSG_PEEK, 0);
    if (!first.ok() || !first->has_value()) return;
    if (!left_over((*first)->label)) return;
    (void)ReceiveDatagram(receiving_.get(), 0, 0);
  }
}

}  // namespace mp::internal
