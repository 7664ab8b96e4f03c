// TLS by certificates, on both sides.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/tls_test_certificates.h"
#include "mp/ipc/tls.h"
#include "mp/process/auth_key.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::TestAuthority;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

// A directory that goes with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory()
      : path_(absl::StrCat(::testing::TempDir(), "/tls_", getpid())) {
    std::filesystem::create_directory(path_);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

class TlsCertificateTest : public ::testing::Test {
 protected:
  // Expects that both sides end with what the matchers say.
  template <typename ServerMatcher, typename ClientMatcher>
  void Meet(const TlsOptions& server, const ServerMatcher& of_server,
            const TlsOptions& client, const ClientMatcher& of_client) {
    absl::StatusOr<TlsListener> listener =
        TlsListener::Create(*Address::Tcp("127.0.0.1", 0), server);
    ASSERT_THAT(listener, IsOk());
    Child connecting = RunInChild([&] {
      absl::StatusOr<Connection> connection =
          TlsClient(listener->address(), client, kLong);
      EXPECT_THAT(connection, of_client);
      return connection.ok() ? connection->Send(42, kLong) : absl::OkStatus();
    });
    absl::StatusOr<Connection> connection = listener->Accept(kLong);
    EXPECT_THAT(connection, of_server);
    if (connection.ok()) {
      EXPECT_THAT(connection->Recv<int>(kLong), IsOkAndHolds(42));
    }
    EXPECT_THAT(connecting.Wait(), ExitedWith(0));
  }

  static auto IsUnauthenticated(absl::string_view why) {
    return StatusIs(absl::StatusCode::kUnauthenticated,
                    HasSubstr(std::string(why)));
  }

  LeakCheck leak_check_;
  TemporaryDirectory directory_;
  TestAuthority authority_{directory_.path(), "authority"};
  TestAuthority stranger_{directory_.path(), "stranger"};
  TlsOptions server_ = authority_.Issue({.name = "server"});
  TlsOptions client_ = authority_.Issue({.name = "client"});
};

TEST_F(TlsCertificateTest, FriendsMeetByAddress) {
  Meet(server_, IsOk(), client_, IsOk());
}

TEST_F(TlsCertificateTest, FriendsMeetByName) {
  client_.server_name = "server.test";
  Meet(server_, IsOk(), client_, IsOk());
}

TEST_F(TlsCertificateTest, AnotherNameIsRefusedByTheClient) {
  client_.server_name = "other.test";
  Meet(server_, IsUnauthenticated("does not accept our certificate"), client_,
       IsUnauthenticated("hostname mismatch"));
  client_.server_name = "127.0.0.2";
  Meet(server_, IsUnauthenticated("does not accept our certificate"), client_,
       IsUnauthenticated("IP address mismatch"));
}

TEST_F(TlsCertificateTest, AnExpiredServerIsRefused) {
  const TlsOptions expired =
      authority_.Issue({.name = "old_server", .lifetime = -absl::Minutes(10)});
  Meet(expired, IsUnauthenticated("finds our certificate expired"), client_,
       IsUnauthenticated("certificate has expired"));
}

// In TLS 1.3 the client is through before the server has looked.
TEST_F(TlsCertificateTest, AnExpiredClientIsRefusedAndKnowsIt) {
  const TlsOptions expired =
      authority_.Issue({.name = "old_client", .lifetime = -absl::Minutes(10)});
  Meet(server_, IsUnauthenticated("certificate has expired"), expired,
       IsUnauthenticated("finds our certificate expired"));
}

TEST_F(TlsCertificateTest, AForeignServerIsRefused) {
  TlsOptions foreign = stranger_.Issue({.name = "foreign_server"});
  foreign.ca_file = authority_.ca_file();
  Meet(foreign, IsUnauthenticated("does not know the authority"), client_,
       IsUnauthenticated("unable to get local issuer certificate"));
}

TEST_F(TlsCertificateTest, AForeignClientIsRefusedAndKnowsIt) {
  TlsOptions foreign = stranger_.Issue({.name = "foreign_client"});
  foreign.ca_file = authority_.ca_file();
  Meet(server_, IsUnauthenticated("unable to get local issuer certificate"),
       foreign, IsUnauthenticated("does not know the authority"));
}

TEST_F(TlsCertificateTest, AKeyAndCertificatesDoNotMeet) {
  const TlsOptions by_key = {.authkey = AuthKey::Random()};
  Meet(server_, IsUnauthenticated(""), by_key, IsUnauthenticated(""));
  Meet(by_key, IsUnauthenticated("does not go by our key"), client_,
       IsUnauthenticated("goes by a key, not by certificates"));
}

// Options that cannot be had are refused before anybody is talked to.
class TlsFilesTest : public TlsCertificateTest {
 protected:
  template <typename Matcher>
  void ExpectCreate(const Matcher& matcher) {
    EXPECT_THAT(TlsListener::Create(*Address::Tcp("127.0.0.1", 0), server_),
                matcher);
    EXPECT_THAT(TlsClient(*Address::Tcp("127.0.0.1", 1), server_, kLong),
                matcher);
  }

  std::string WriteFile(absl::string_view text) {
    const std::string path = directory_.path() + "/file";
    std::ofstream(path) << text;
    return path;
  }
};

TEST_F(TlsFilesTest, AMissingFileIsNamed) {
  server_.certificate_file = "/nowhere/to.crt";
  ExpectCreate(StatusIs(absl::StatusCode::kNotFound,
                        HasSubstr("certificate_file \"/nowhere/to.crt\"")));
}

TEST_F(TlsFilesTest, WhatIsNoCertificateIsRefused) {
  server_.certificate_file = WriteFile("no certificate");
  ExpectCreate(StatusIs(absl::StatusCode::kInvalidArgument,
                        HasSubstr("is not a certificate in PEM")));
}

TEST_F(TlsFilesTest, WhatIsNoAuthorityIsRefused) {
  server_.ca_file = WriteFile("");
  ExpectCreate(StatusIs(absl::StatusCode::kInvalidArgument,
                        HasSubstr("is not a list of certificates in PEM")));
}

TEST_F(TlsFilesTest, AnotherCertificatesKeyIsRefused) {
  server_.private_key_file = client_.private_key_file;
  ExpectCreate(StatusIs(absl::StatusCode::kInvalidArgument,
                        HasSubstr("is not the certificate's private key")));
}

TEST_F(TlsFilesTest, NobodyIsAskedForAPassphrase) {
  server_ = authority_.Issue({.name = "locked", .passphrase = "secret"});
  ExpectCreate(StatusIs(absl::StatusCode::kInvalidArgument,
                        HasSubstr("without a passphrase")));
}

}  // namespace
}  // namespace mp
