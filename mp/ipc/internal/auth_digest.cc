#include "mp/ipc/internal/auth_digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mp::internal {
namespace {

// Returns nullptr for a name that is none of ours.
const EVP_MD* FindDigest(absl::string_view name) {
  if (name == "md5") return EVP_md5();
  if (name == "sha256") return EVP_sha256();
  if (name == "sha384") return EVP_sha384();
  if (name == "sha3_256") return EVP_sha3_256();
  if (name == "sha3_384") return EVP_sha3_384();
  return nullptr;
}

}  // namespace

bool IsAuthDigest(absl::string_view name) {
  return FindDigest(name) != nullptr;
}

absl::StatusOr<std::string> Hmac(absl::string_view name, absl::string_view key,
                                 absl::string_view message) {
  unsigned char code[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  // A null pointer would stand for the key of the call before.
  const char* const key_bytes = key.empty() ? "" : key.data();
  if (HMAC(FindDigest(name), key_bytes, static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(message.data()),
           message.size(), code, &size) == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("OpenSSL has no HMAC with ", name, " here"));
  }
  return std::string(reinterpret_cast<char*>(code), size);
}

bool EqualInConstantTime(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() &&
         CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace mp::internal
