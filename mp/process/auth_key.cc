#include "mp/process/auth_key.h"

#include <sys/random.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <ostream>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace mp {

AuthKey::AuthKey(std::vector<char> bytes) : bytes_(std::move(bytes)) {}

AuthKey AuthKey::Random() {
  std::vector<char> bytes(kRandomBytes);
  // So few bytes come whole or not at all.
  if (RetryOnEintr([&] { return getrandom(bytes.data(), bytes.size(), 0); }) !=
      static_cast<ssize_t>(bytes.size())) {
    MP_CHECK_OK(ErrnoStatus(errno, "getrandom"));
  }
  return AuthKey(std::move(bytes));
}

AuthKey AuthKey::FromBytes(absl::string_view bytes) {
  return AuthKey(std::vector<char>(bytes.begin(), bytes.end()));
}

AuthKey& AuthKey::operator=(AuthKey other) noexcept {
  bytes_.swap(other.bytes_);
  return *this;
}

AuthKey::~AuthKey() {
  if (!bytes_.empty()) explicit_bzero(bytes_.data(), bytes_.size());
}

bool operator==(const AuthKey& a, const AuthKey& b) {
  if (a.bytes_.size() != b.bytes_.size()) return false;
  volatile char difference = 0;
  for (size_t i = 0; i < a.bytes_.size(); ++i) {
    difference = difference | (a.bytes_[i] ^ b.bytes_[i]);
  }
  return difference == 0;
}

std::ostream& operator<<(std::ostream& out, const AuthKey& key) {
  return out << "AuthKey(" << key.bytes_.size() << " bytes)";
}

}  // namespace mp
