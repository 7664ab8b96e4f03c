#include "mp/ipc/internal/tls_test_certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/ipc/tls_options.h"

namespace mp::internal {
namespace {

// A test cannot go on without.
void Must(bool done, const char* what) {
  if (done) return;
  std::fprintf(stderr, "TestAuthority: %s failed\n", what);
  std::abort();
}

using File = std::unique_ptr<FILE, decltype(&fclose)>;

File CreateFile(const std::string& path) {
  File file(fopen(path.c_str(), "we"), fclose);
  Must(file != nullptr, path.c_str());
  return file;
}

void WriteCertificate(const std::string& path, X509* certificate) {
  Must(PEM_write_X509(CreateFile(path).get(), certificate) == 1, "PEM_write");
}

void WritePrivateKey(const std::string& path, EVP_PKEY* key,
                     const std::string& passphrase) {
  const EVP_CIPHER* const cipher =
      passphrase.empty() ? nullptr : EVP_aes_128_cbc();
  const auto* const secret =
      reinterpret_cast<const unsigned char*>(passphrase.data());
  Must(PEM_write_PrivateKey(CreateFile(path).get(), key, cipher, secret,
                            static_cast<int>(passphrase.size()), nullptr,
                            nullptr) == 1,
       "PEM_write_PrivateKey");
}

void Extend(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* const extension =
      X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  Must(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1,
       value.c_str());
  X509_EXTENSION_free(extension);
}

// Returns a certificate for a key, which is yet to be signed.
X509* NewCertificate(EVP_PKEY* key, const std::string& common_name,
                     absl::Duration lifetime) {
  static long serial = 0;
  X509* const made = X509_new();
  X509_set_version(made, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial);
  const long end = static_cast<long>(absl::ToInt64Seconds(lifetime));
  X509_gmtime_adj(X509_getm_notBefore(made), end - 2 * 3600);
  X509_gmtime_adj(X509_getm_notAfter(made), end);
  X509_set_pubkey(made, key);
  const auto* const name =
      reinterpret_cast<const unsigned char*>(common_name.c_str());
  Must(X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN",
                                  MBSTRING_ASC, name, -1, -1, 0) == 1,
       "X509_NAME_add_entry_by_txt");
  return made;
}

}  // namespace

TestAuthority::TestAuthority(std::string directory, const std::string& name)
    : directory_(std::move(directory)),
      ca_file_(absl::StrCat(directory_, "/", name, ".crt")),
      key_(EVP_EC_gen("P-256")),
      certificate_(NewCertificate(key_, name, absl::Hours(1))) {
  X509_set_issuer_name(certificate_, X509_get_subject_name(certificate_));
  Extend(certificate_, NID_basic_constraints, "critical,CA:TRUE");
  Must(X509_sign(certificate_, key_, EVP_sha256()) > 0, "X509_sign");
  WriteCertificate(ca_file_, certificate_);
}

TestAuthority::~TestAuthority() {
  X509_free(certificate_);
  EVP_PKEY_free(key_);
}

TlsOptions TestAuthority::Issue(const Request& request) const {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = NewCertificate(key, request.name, request.lifetime);
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate_));
  Extend(certificate, NID_subject_alt_name, request.alt_names);
  Must(X509_sign(certificate, key_, EVP_sha256()) > 0, "X509_sign");
  const std::string stem = absl::StrCat(directory_, "/", request.name);
  TlsOptions options;
  options.certificate_file = stem + ".crt";
  options.private_key_file = stem + ".key";
  options.ca_file = ca_file_;
  WriteCertificate(options.certificate_file, certificate);
  WritePrivateKey(options.private_key_file, key, request.passphrase);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return options;
}

}  // namespace mp::internal
