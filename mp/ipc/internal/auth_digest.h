#ifndef MP_IPC_INTERNAL_AUTH_DIGEST_H_
#define MP_IPC_INTERNAL_AUTH_DIGEST_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mp::internal {

// The length of what Hmac() returns for MD5.
inline constexpr size_t kMd5Bytes = 16;

// Whether CPython's handshake knows a digest of this name: md5, sha256, sha384,
// sha3_256 or sha3_384, and no other.
bool IsAuthDigest(absl::string_view name);

// Returns the keyed hash of `message`. `name` is one of the above.
//
// Errors:
//   kUnimplemented  this OpenSSL has not got it: MD5, where the system is set
//                   up for FIPS.
// Source: RFC 2104; man 3ssl HMAC.
absl::StatusOr<std::string> Hmac(absl::string_view name, absl::string_view key,
                                 absl::string_view message);

// Compares in a time that depends on the lengths only.
bool EqualInConstantTime(absl::string_view a, absl::string_view b);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_AUTH_DIGEST_H_
