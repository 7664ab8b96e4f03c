// TLS against another implementation's programs: openssl s_client and s_server.

#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/tls_key.h"
#include "mp/ipc/internal/tls_test_certificates.h"
#include "mp/ipc/tls.h"
#include "mp/process/auth_key.h"
#include "mp/process/stdio.h"
#include "mp/process/subprocess.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::DeriveTlsKey;
using ::mp::internal::TestAuthority;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kLong = absl::Seconds(60);

// "hello" as a message.
constexpr absl::string_view kHello("\0\0\0\5hello", 9);
constexpr absl::string_view kGreeting = "mp/1\n";

// A program that we write to and read from.
class Program {
 public:
  explicit Program(std::vector<std::string> args) : program_(Start(args)) {}
  ~Program() {
    program_.Kill().IgnoreError();
    program_.Wait(kLong).IgnoreError();
  }

  void Write(absl::string_view text) {
    MP_CHECK_OK(WriteAll(program_.stdin_pipe().get(), text));
  }

  // Returns all that it has written once `text` is among it, or at its end.
  std::string ReadUntil(absl::string_view text) {
    char bytes[1 << 12];
    const int pipe = program_.stdout_pipe().get();
    while (!absl::StrContains(output_, text)) {
      const absl::StatusOr<bool> ready =
          WaitForFd(pipe, POLLIN, Deadline(kLong));
      if (!ready.ok() || !*ready) break;
      const ssize_t got = read(pipe, bytes, sizeof(bytes));
      if (got <= 0) break;
      output_.append(bytes, got);
    }
    return output_;
  }

  void Kill() { program_.Kill().IgnoreError(); }

 private:
  static Subprocess Start(const std::vector<std::string>& args) {
    Subprocess::Options options;
    options.surroundings.stdin_from = Stdio::Pipe();
    options.surroundings.stdout_to = Stdio::Pipe();
    options.surroundings.stderr_to = Stdio::Stdout();
    options.end_with_parent = true;
    absl::StatusOr<Subprocess> program = Subprocess::Popen(args, options);
    MP_CHECK_OK(program);
    return *std::move(program);
  }

  Subprocess program_;
  std::string output_;
};

class TlsOpensslTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (absl::IsNotFound(
            Subprocess::CheckOutput({"openssl", "version"}).status())) {
      std::cerr << "There is no program openssl here: its test is left out.\n";
      GTEST_SKIP() << "no program openssl";
    }
  }

  TlsListener Listen(const TlsOptions& options) {
    absl::StatusOr<TlsListener> listener =
        TlsListener::Create(*Address::Tcp("127.0.0.1", 0), options);
    MP_CHECK_OK(listener);
    return *std::move(listener);
  }

  // Starts s_client, or s_server, with more options than these.
  Program Client(const TlsListener& listener, std::vector<std::string> more) {
    std::vector<std::string> args = {"openssl", "s_client", "-connect",
                                     listener.address().ToString()};
    args.insert(args.end(), more.begin(), more.end());
    return Program(std::move(args));
  }
  Program Server(std::vector<std::string> more) {
    std::vector<std::string> args = {"openssl", "s_server", "-accept",
                                     "127.0.0.1:0"};
    args.insert(args.end(), more.begin(), more.end());
    return Program(std::move(args));
  }

  // Returns where s_server says that it listens.
  Address AddressOf(Program& server) {
    const std::string output = server.ReadUntil("ACCEPT 127.0.0.1:");
    const std::string more = server.ReadUntil("\n");
    const size_t at = more.find("127.0.0.1:") + 10;
    int port = 0;
    if (!absl::SimpleAtoi(more.substr(at, more.find('\n', at) - at), &port)) {
      ADD_FAILURE() << more;
    }
    return *Address::Tcp("127.0.0.1", port);
  }

  static std::string Hex(const AuthKey& authkey) {
    return absl::BytesToHexString(DeriveTlsKey(authkey)->bytes());
  }

  static auto IsUnauthenticated(absl::string_view why) {
    return StatusIs(absl::StatusCode::kUnauthenticated,
                    HasSubstr(std::string(why)));
  }

  const TlsOptions by_key_ = {.authkey = AuthKey::Random()};
  const std::string key_ = Hex(*by_key_.authkey);
};

TEST_F(TlsOpensslTest, AClientWithTheKeyIsLetIn) {
  TlsListener listener = Listen(by_key_);
  // It would do without X25519 if we would.
  Program client = Client(listener, {"-psk", key_, "-psk_identity", "mp",
                                     "-tls1_3", "-allow_no_dhe_kex"});
  absl::StatusOr<Connection> connection = listener.Accept(kLong);
  ASSERT_THAT(connection, IsOk());
  client.Write(kHello);
  EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds("hello"));
  ASSERT_THAT(connection->SendBytes("to you", kLong), IsOk());
  EXPECT_THAT(client.ReadUntil("to you"),
              AllOf(HasSubstr("TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256"),
                    HasSubstr("Server Temp Key: X25519"),
                    Not(HasSubstr("Session Ticket"))));
}

TEST_F(TlsOpensslTest, AClientChangesTheKeysOnTheWay) {
  TlsListener listener = Listen(by_key_);
  Program client =
      Client(listener, {"-psk", key_, "-psk_identity", "mp", "-tls1_3"});
  absl::StatusOr<Connection> connection = listener.Accept(kLong);
  ASSERT_THAT(connection, IsOk());
  client.ReadUntil("mp/1");
  client.Write("K\n");  // its own key, and ours
  EXPECT_THAT(client.ReadUntil("KEYUPDATE"), HasSubstr("KEYUPDATE"));
  client.Write(kHello);
  EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds("hello"));
  ASSERT_THAT(connection->SendBytes("to you", kLong), IsOk());
  EXPECT_THAT(client.ReadUntil("to you"), HasSubstr("to you"));
}

TEST_F(TlsOpensslTest, AKilledClientIsNoOrderlyEnd) {
  TlsListener listener = Listen(by_key_);
  Program client =
      Client(listener, {"-psk", key_, "-psk_identity", "mp", "-tls1_3"});
  absl::StatusOr<Connection> connection = listener.Accept(kLong);
  ASSERT_THAT(connection, IsOk());
  client.ReadUntil("mp/1");
  client.Kill();
  EXPECT_THAT(connection->RecvBytes(kLong),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(TlsOpensslTest, AClientOfTls12IsRefused) {
  TlsListener listener = Listen(by_key_);
  Program client = Client(listener, {"-tls1_2"});
  EXPECT_THAT(listener.Accept(kLong), IsUnauthenticated("does not do TLS 1.3"));
  EXPECT_THAT(client.ReadUntil("protocol version"),
              HasSubstr("protocol version"));
}

TEST_F(TlsOpensslTest, AClientWithoutTheKeyIsRefused) {
  TlsListener listener = Listen(by_key_);
  Program client = Client(listener, {"-tls1_3"});
  EXPECT_THAT(listener.Accept(kLong), IsUnauthenticated("our key"));
}

TEST_F(TlsOpensslTest, AnotherIdentityIsRefused) {
  TlsListener listener = Listen(by_key_);
  Program client =
      Client(listener, {"-psk", key_, "-psk_identity", "other", "-tls1_3"});
  EXPECT_THAT(listener.Accept(kLong), IsUnauthenticated("our key"));
}

TEST_F(TlsOpensslTest, AnotherGroupIsRefused) {
  TlsListener listener = Listen(by_key_);
  Program client = Client(listener, {"-psk", key_, "-psk_identity", "mp",
                                     "-tls1_3", "-groups", "P-256"});
  EXPECT_THAT(listener.Accept(kLong), IsUnauthenticated("X25519"));
}

TEST_F(TlsOpensslTest, AServerWithTheKeyIsJoined) {
  Program server = Server({"-psk", key_, "-psk_identity", "mp", "-nocert",
                           "-tls1_3", "-naccept", "1"});
  const Address address = AddressOf(server);
  // All in one record, in which a message begins.
  server.Write(absl::StrCat(kGreeting, kHello));
  absl::StatusOr<Connection> connection = TlsClient(address, by_key_, kLong);
  ASSERT_THAT(connection, IsOk());
  EXPECT_THAT(connection->Poll(kLong), IsOkAndHolds(true));
  EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds("hello"));
  ASSERT_THAT(connection->SendBytes("to you", kLong), IsOk());
  EXPECT_THAT(server.ReadUntil("to you"), HasSubstr("to you"));
  server.Kill();
  EXPECT_THAT(connection->RecvBytes(kLong),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(TlsOpensslTest, AServerThatIsNoneOfOursIsRefused) {
  Program server =
      Server({"-psk", key_, "-psk_identity", "mp", "-nocert", "-tls1_3"});
  const Address address = AddressOf(server);
  server.Write("220 smtp\n");
  EXPECT_THAT(TlsClient(address, by_key_, kLong),
              IsUnauthenticated("is no TlsListener"));
}

TEST_F(TlsOpensslTest, AServerWithAnotherKeyIsRefused) {
  Program server = Server({"-psk", Hex(AuthKey::Random()), "-psk_identity",
                           "mp", "-nocert", "-tls1_3"});
  EXPECT_THAT(TlsClient(AddressOf(server), by_key_, kLong),
              IsUnauthenticated("the other end has another key"));
}

// With certificates, in a directory of their own.
class TlsOpensslCertificateTest : public TlsOpensslTest {
 protected:
  TlsOpensslCertificateTest() { std::filesystem::create_directory(directory_); }
  ~TlsOpensslCertificateTest() override {
    std::filesystem::remove_all(directory_);
  }

  const std::string directory_ =
      absl::StrCat(::testing::TempDir(), "/tls_openssl_", getpid());
};

TEST_F(TlsOpensslCertificateTest, ClientsAreAskedForACertificate) {
  const TestAuthority authority(directory_, "authority");
  TlsListener listener = Listen(authority.Issue({.name = "server"}));
  const TlsOptions friendly = authority.Issue({.name = "client"});
  {
    Program client = Client(listener, {"-tls1_3"});
    EXPECT_THAT(listener.Accept(kLong),
                IsUnauthenticated("showed no certificate"));
  }
  Program client =
      Client(listener, {"-tls1_3", "-verify_return_error", "-CAfile",
                        friendly.ca_file, "-cert", friendly.certificate_file,
                        "-key", friendly.private_key_file});
  absl::StatusOr<Connection> connection = listener.Accept(kLong);
  ASSERT_THAT(connection, IsOk());
  client.Write(kHello);
  EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds("hello"));
}

TEST_F(TlsOpensslCertificateTest, AServerOfTls12IsRefused) {
  const TestAuthority authority(directory_, "authority");
  const TlsOptions server_files = authority.Issue({.name = "server"});
  Program server = Server({"-tls1_2", "-cert", server_files.certificate_file,
                           "-key", server_files.private_key_file});
  const Address address = AddressOf(server);
  EXPECT_THAT(TlsClient(address, authority.Issue({.name = "client"}), kLong),
              IsUnauthenticated("does not do TLS 1.3"));
  EXPECT_THAT(TlsClient(address, by_key_, kLong),
              IsUnauthenticated("does not do TLS 1.3"));
}

}  // namespace
}  // namespace mp
