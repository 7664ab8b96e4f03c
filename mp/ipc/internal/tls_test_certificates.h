#ifndef MP_IPC_INTERNAL_TLS_TEST_CERTIFICATES_H_
#define MP_IPC_INTERNAL_TLS_TEST_CERTIFICATES_H_

#include <openssl/types.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "mp/ipc/tls_options.h"

namespace mp::internal {

// An authority that signs certificates for a test, as files in a directory.
//
// Example:
//   TestAuthority authority(directory, "ca");
//   TlsOptions server = authority.Issue({.name = "server"});
class TestAuthority {
 public:
  struct Request {
    // Of the files.
    std::string name;
    // Who it is for, as OpenSSL writes it.
    std::string alt_names = "IP:127.0.0.1,DNS:server.test";
    // From now; the certificate begins an hour before that.
    absl::Duration lifetime = absl::Hours(1);
    // Encrypts the private key.
    std::string passphrase = "";
  };

  // The authority's own files are called `name`.
  TestAuthority(std::string directory, const std::string& name);
  TestAuthority(const TestAuthority&) = delete;
  ~TestAuthority();

  // Writes a certificate and its private key. Returns the options of one who
  // has them and trusts this authority.
  TlsOptions Issue(const Request& request) const;

  const std::string& ca_file() const { return ca_file_; }

 private:
  const std::string directory_;
  std::string ca_file_;
  EVP_PKEY* key_;
  X509* certificate_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TLS_TEST_CERTIFICATES_H_
