#include "mp/ipc/internal/tls_engine.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/tls_context.h"
#include "mp/ipc/internal/tls_handshake.h"
#include "mp/ipc/internal/tls_key.h"
#include "mp/ipc/internal/tls_owner.h"
#include "mp/ipc/internal/tls_transport.h"
#include "mp/ipc/tls_options.h"
#include "mp/process/auth_key.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

AuthKey Key() { return AuthKey::FromBytes("a key of thirty-two bytes, or so"); }

const TlsContext& Context(TlsContext::Role role) {
  const auto create = [](TlsContext::Role of) {
    absl::StatusOr<TlsContext> context =
        TlsContext::Create({.authkey = Key()}, of);
    MP_CHECK_OK(context);
    return new TlsContext(*std::move(context));
  };
  static const TlsContext& server = *create(TlsContext::Role::kServer);
  static const TlsContext& client = *create(TlsContext::Role::kClient);
  return role == TlsContext::Role::kServer ? server : client;
}

// Two ends of a wire, in one thread.
class TlsEngineTest : public ::testing::Test {
 protected:
  TlsEngineTest() {
    while (true) {
      const absl::StatusOr<bool> a = client_.Handshake();
      MP_CHECK_OK(client_.Flush());
      const absl::StatusOr<bool> b = server_.Handshake();
      MP_CHECK_OK(server_.Flush());
      MP_CHECK_OK(a);
      MP_CHECK_OK(b);
      if (*a && *b) break;
    }
    client_.SetTrusted();
    server_.SetTrusted();
  }

  TlsEngine Engine(TlsContext::Role role, const Fd& socket) {
    absl::StatusOr<TlsEngine> engine =
        TlsEngine::Create(Context(role), socket.get(), "");
    MP_CHECK_OK(engine);
    return *std::move(engine);
  }

  void Send(TlsEngine& engine, absl::string_view bytes) {
    ASSERT_THAT(engine.Encrypt(bytes), IsOk());
    ASSERT_THAT(engine.Flush(), IsOkAndHolds(true));
  }

  // Returns up to `size` bytes; "(end)", "(nothing)".
  absl::StatusOr<std::string> Read(TlsEngine& engine, size_t size) {
    std::string bytes(size, '\0');
    MP_ASSIGN_OR_RETURN(const std::optional<size_t> got,
                        engine.Read(absl::MakeSpan(bytes)));
    if (!got.has_value()) return "(nothing)";
    if (*got == 0) return "(end)";
    bytes.resize(*got);
    return bytes;
  }

  int Readable(const Fd& socket) {
    int bytes = 0;
    ioctl(socket.get(), FIONREAD, &bytes);
    return bytes;
  }

  SocketPair sockets_ = *CreateSocketPair();
  Fd& a_ = sockets_.first;
  Fd& b_ = sockets_.second;
  TlsEngine client_ = Engine(TlsContext::Role::kClient, a_);
  TlsEngine server_ = Engine(TlsContext::Role::kServer, b_);
};

TEST_F(TlsEngineTest, ReadsARecordInPieces) {
  EXPECT_THAT(Read(server_, 9), IsOkAndHolds("(nothing)"));
  Send(client_, "hello");
  Send(client_, "again");
  EXPECT_FALSE(server_.HasBuffered());
  EXPECT_THAT(Read(server_, 2), IsOkAndHolds("he"));
  EXPECT_TRUE(server_.HasBuffered());
  EXPECT_THAT(Read(server_, 9), IsOkAndHolds("llo"));
  // The next record stays in the socket, where poll() sees it.
  EXPECT_FALSE(server_.HasBuffered());
  EXPECT_GT(Readable(b_), 0);
  EXPECT_THAT(Read(server_, 9), IsOkAndHolds("again"));
  EXPECT_THAT(Read(server_, 9), IsOkAndHolds("(nothing)"));
}

TEST_F(TlsEngineTest, TellsAnEndInOrderFromACut) {
  Send(client_, "last");
  client_.SayGoodbye();
  ASSERT_THAT(client_.Flush(), IsOkAndHolds(true));
  EXPECT_THAT(Read(server_, 9), IsOkAndHolds("last"));
  EXPECT_THAT(Read(server_, 9), IsOkAndHolds("(end)"));
  EXPECT_THAT(Read(server_, 9), IsOkAndHolds("(end)"));
  b_.Close();
  EXPECT_THAT(Read(client_, 9), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(Read(client_, 9), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(client_.HasBuffered());
}

TEST_F(TlsEngineTest, ACutInARecordIsDataLoss) {
  // The header of a record, and less than it promises.
  ASSERT_THAT(
      WriteAll(a_.get(), absl::string_view("\x17\x03\x03\0\x20half", 9)),
      IsOk());
  shutdown(a_.get(), SHUT_WR);
  EXPECT_THAT(Read(server_, 9), StatusIs(absl::StatusCode::kDataLoss,
                                         HasSubstr("ended in a message")));
}

TEST_F(TlsEngineTest, KeysChangeBeforeTheyAreWornOut) {
  client_.set_records_per_key(3);
  int longer = 0;
  for (int i = 0; i < 10; ++i) {
    Send(client_, "hello");
    // A record has 22 bytes around its contents; what changes the key is a
    // record of 5 (RFC 8446, sections 4.6.3 and 5.2).
    const int size = Readable(b_);
    EXPECT_TRUE(size == 27 || size == 27 + 27) << size;
    longer += size > 27;
    EXPECT_THAT(Read(server_, 9), IsOkAndHolds("hello"));
    Send(server_, "back");
    EXPECT_THAT(Read(client_, 9), IsOkAndHolds("back"));
  }
  EXPECT_EQ(longer, 3);
}

TEST(TlsKeyTest, FollowsFromTheAuthkey) {
  const absl::StatusOr<AuthKey> key = DeriveTlsKey(Key());
  ASSERT_THAT(key, IsOk());
  // By Python: hmac of hmac, RFC 5869.
  EXPECT_EQ(absl::BytesToHexString(key->bytes()),
            "b46fc80fdbb3fd3797b81d0098c44b76"
            "08d519078342c36aadf6b7f2da0aed6b");
}

TEST(TlsOwnerTest, IsNoForkedChild) {
  const TlsOwner owner;
  EXPECT_TRUE(owner.IsThisProcess());
  Child child = RunInChild([&] {
    EXPECT_FALSE(owner.IsThisProcess());
    const TlsOwner own;
    EXPECT_TRUE(own.IsThisProcess());
    EXPECT_FALSE(owner.IsThisProcess());
    Child grandchild = RunInChild([&] {
      EXPECT_FALSE(owner.IsThisProcess());
      EXPECT_FALSE(own.IsThisProcess());
      return absl::OkStatus();
    });
    EXPECT_THAT(grandchild.Wait(), ExitedWith(0));
    EXPECT_TRUE(own.IsThisProcess());
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_TRUE(owner.IsThisProcess());
}

std::unique_ptr<TlsTransport> Shake(TlsContext::Role role, Fd socket) {
  absl::StatusOr<TlsHandshake> handshake =
      TlsHandshake::Create(Context(role), std::move(socket), "", kLong);
  MP_CHECK_OK(handshake);
  MP_CHECK_OK(handshake->Run(Deadline(kLong)));
  return std::make_unique<TlsTransport>(*std::move(handshake));
}

class TlsTransportTest : public ::testing::Test {
 protected:
  TlsTransportTest() {
    SocketPair sockets = *CreateSocketPair();
    std::thread other([&] {
      client_ = Shake(TlsContext::Role::kClient, std::move(sockets.first));
    });
    server_ = Shake(TlsContext::Role::kServer, std::move(sockets.second));
    other.join();
  }

  std::unique_ptr<TlsTransport> client_;
  std::unique_ptr<TlsTransport> server_;
};

// Ours put each message into a record of its own; others need not.
TEST_F(TlsTransportTest, PollSeesWhatHasLeftTheSocket) {
  size_t done = 0;
  const absl::string_view pieces[] = {absl::string_view("\0\0\0\1a", 5),
                                      absl::string_view("\0\0\0\1b", 5)};
  ASSERT_THAT(client_->WriteAll(pieces, Deadline(kLong), &done), IsOk());
  EXPECT_EQ(done, 10);
  Connection connection = Connection::FromTransport(std::move(server_));
  EXPECT_THAT(connection.RecvBytes(kLong), IsOkAndHolds("a"));
  EXPECT_THAT(
      WaitForFd(connection.fileno(), POLLIN, Deadline(absl::ZeroDuration())),
      IsOkAndHolds(false));
  EXPECT_THAT(connection.Poll(), IsOkAndHolds(true));
  EXPECT_THAT(connection.RecvBytes(absl::ZeroDuration()), IsOkAndHolds("b"));
  EXPECT_THAT(connection.Poll(), IsOkAndHolds(false));
}

TEST_F(TlsTransportTest, SaysHowMuchCannotBeTakenBack) {
  const std::string much(64 << 20, 'x');
  const absl::string_view pieces[] = {"head", much};
  size_t done = 0;
  EXPECT_THAT(client_->WriteAll(pieces, Deadline(absl::ZeroDuration()), &done),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_GT(done, 4);
  EXPECT_LT(done, much.size());
  // Nothing can be sent before that has gone.
  EXPECT_THAT(client_->WriteAll(pieces, Deadline(absl::ZeroDuration()), &done),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(done, 0);
}

// The buffer is full when the connection is closed; the goodbye waits.
TEST_F(TlsTransportTest, TheGoodbyeComesAfterAll) {
  size_t sent = 0;
  size_t done = 0;
  const std::string piece(1000, 'x');
  while (
      client_->WriteAll({piece}, Deadline(absl::ZeroDuration()), &done).ok()) {
    sent += done;
  }
  ASSERT_EQ(done, 0);
  std::thread closer([&] { client_.reset(); });
  std::string bytes(1 << 16, '\0');
  size_t received = 0;
  absl::StatusOr<size_t> got;
  while ((got = server_->ReadSome(absl::MakeSpan(bytes), Deadline(kLong)))
             .value_or(0) > 0) {
    received += *got;
  }
  closer.join();
  EXPECT_THAT(got, IsOkAndHolds(0));
  EXPECT_EQ(received, sent);
}

}  // namespace
}  // namespace mp::internal
