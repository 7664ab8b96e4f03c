// Compares what a Connection costs with bare Unix sockets that carry the same
// frames, and with CPython's Pipe().
//
// usage: connection_ratios [--check] [--pairs=N] [--filter=TEXT]
//
// Prints a table. A row is met if its ratio is within a quarter of the target,
// half if it is not more than twice as slow as the target asks for. They are of
// two processes, and say little while the machine does other work.
//
// Exit status: 0; with --check, 1 if a row is worse than that. Rows for which
// something is not installed are not measured, which the table shows.

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/testing/child.h"
#include "mp/testing/paired_benchmark.h"
#include "mp/testing/script_peer.h"

namespace mp {
namespace {

using testing::Child;
using testing::Measure;

constexpr char kPeerScript[] = "mp/ipc/testdata/pipe_peer.py";
constexpr size_t kLargest = size_t{64} << 20;

// The first letter of a message says what becomes of it.
constexpr char kEcho = 'e';
constexpr char kSwallow = 's';

// One end of what carries messages.
class Channel {
 public:
  virtual ~Channel() = default;
  virtual absl::Status Send(absl::string_view message) = 0;
  virtual absl::StatusOr<size_t> Receive(absl::Span<char> buffer) = 0;
};

class Ours : public Channel {
 public:
  explicit Ours(Connection connection) : connection_(std::move(connection)) {}
  absl::Status Send(absl::string_view message) override {
    return connection_.SendBytes(message);
  }
  absl::StatusOr<size_t> Receive(absl::Span<char> buffer) override {
    return connection_.RecvBytesInto(buffer);
  }

 private:
  Connection connection_;
};

// The same frames, with a system call for each step and nothing else.
class BareSocket : public Channel {
 public:
  explicit BareSocket(Fd socket) : socket_(std::move(socket)) {}

  absl::Status Send(absl::string_view message) override {
    uint32_t header = htonl(static_cast<uint32_t>(message.size()));
    iovec parts[] = {{&header, sizeof(header)},
                     {const_cast<char*>(message.data()), message.size()}};
    msghdr all = {};
    all.msg_iov = parts;
    all.msg_iovlen = 2;
    const ssize_t sent = sendmsg(socket_.get(), &all, MSG_NOSIGNAL);
    // It blocks until all has gone.
    if (sent == static_cast<ssize_t>(sizeof(header) + message.size())) {
      return absl::OkStatus();
    }
    return ErrnoStatus(errno, "sendmsg");
  }
  absl::StatusOr<size_t> Receive(absl::Span<char> buffer) override {
    uint32_t header = 0;
    MP_ASSIGN_OR_RETURN(
        const size_t got,
        ReadUpTo(socket_.get(), reinterpret_cast<char*>(&header),
                 sizeof(header)));
    if (got != sizeof(header)) return absl::OutOfRangeError("the end");
    return ReadUpTo(socket_.get(), buffer.data(), ntohl(header));
  }

 private:
  const Fd socket_;
};

// Two processes, of which the other one echoes and swallows.
class Partners {
 public:
  Partners(std::unique_ptr<Channel> here, std::unique_ptr<Channel> there)
      : buffer_(kLargest, kEcho),
        here_(std::move(here)),
        child_(testing::RunInChild([&] {
          here_.reset();
          return Serve(*there);
        })) {}

  absl::Status RoundTrip(size_t size) {
    buffer_[0] = kEcho;
    MP_RETURN_IF_ERROR(here_->Send({buffer_.data(), size}));
    return here_->Receive(absl::MakeSpan(buffer_)).status();
  }

  Measure RoundTrips(size_t size) {
    return testing::Timed([this, size] { return RoundTrip(size); });
  }

  // So many messages one way, up to the last one's arrival.
  Measure OneWay(size_t size) {
    return [this, size](int runs) -> absl::StatusOr<absl::Duration> {
      return testing::Timed([&]() -> absl::Status {
        buffer_[0] = kSwallow;
        for (int i = 0; i < runs; ++i) {
          MP_RETURN_IF_ERROR(here_->Send({buffer_.data(), size}));
        }
        return RoundTrip(1);
      })(1);
    };
  }

 private:
  absl::Status Serve(Channel& there) {
    while (true) {
      const absl::StatusOr<size_t> size =
          there.Receive(absl::MakeSpan(buffer_));
      if (absl::IsOutOfRange(size.status())) return absl::OkStatus();
      MP_RETURN_IF_ERROR(size.status());
      if (buffer_[0] == kSwallow) continue;
      MP_RETURN_IF_ERROR(there.Send({buffer_.data(), *size}));
    }
  }

  std::vector<char> buffer_;
  std::unique_ptr<Channel> here_;
  Child child_;
};

absl::StatusOr<std::unique_ptr<Partners>> MakeOurs() {
  MP_ASSIGN_OR_RETURN(auto ends, Pipe());
  return std::make_unique<Partners>(
      std::make_unique<Ours>(std::move(ends.first)),
      std::make_unique<Ours>(std::move(ends.second)));
}

absl::StatusOr<std::unique_ptr<Partners>> MakeBare() {
  MP_ASSIGN_OR_RETURN(SocketPair sockets, CreateSocketPair());
  return std::make_unique<Partners>(
      std::make_unique<BareSocket>(std::move(sockets.first)),
      std::make_unique<BareSocket>(std::move(sockets.second)));
}

struct Size {
  const char* name;
  size_t bytes;
  int round_trips;
  int one_way;
};

constexpr Size kSizes[] = {
    {"64 B", 64, 2000, 20'000},         {"4 KiB", 4 << 10, 2000, 20'000},
    {"64 KiB", 64 << 10, 500, 1000},    {"1 MiB", 1 << 20, 50, 100},
    {"64 MiB", size_t{64} << 20, 1, 2},
};

absl::StatusOr<int> Main(int argc, char** argv) {
  MP_ASSIGN_OR_RETURN(auto options,
                      testing::ParsePairedBenchmarkOptions(argc, argv));
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<testing::ScriptPeer> python,
                      testing::PythonPeer(kPeerScript));
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<Partners> ours, MakeOurs());
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<Partners> bare, MakeBare());
  testing::PairedBenchmark benchmark(std::move(options), std::cout);
  for (const Size& size : kSizes) {
    const std::string name = absl::StrCat("round trip, ", size.name, " / ");
    const auto run = [&](const char* peer, Measure floor, double target) {
      benchmark.Run({.name = absl::StrCat(name, peer),
                     .ours = ours->RoundTrips(size.bytes),
                     .floor = std::move(floor),
                     .target = target,
                     .runs = size.round_trips});
    };
    run("bare socket", bare->RoundTrips(size.bytes), 1.2);
    run("CPython Pipe", python->Does(absl::StrCat("round_trip_", size.bytes)),
        size.bytes > (1 << 16) ? 1.0 : 0.8);
  }
  for (const Size& size : kSizes) {
    const std::string name = absl::StrCat("one way, ", size.name, " / ");
    const auto run = [&](const char* peer, Measure floor, double target) {
      benchmark.Run({.name = absl::StrCat(name, peer),
                     .ours = ours->OneWay(size.bytes),
                     .floor = std::move(floor),
                     .target = target,
                     .runs = size.one_way});
    };
    run("bare socket", bare->OneWay(size.bytes), 1.2);
    run("CPython Pipe", python->Does(absl::StrCat("one_way_", size.bytes)),
        size.bytes > (1 << 16) ? 1.0 : 0.5);
  }
  return benchmark.Finish();
}

}  // namespace
}  // namespace mp

int main(int argc, char** argv) {
  return mp::testing::ExitCodeOf(mp::Main(argc, argv));
}
