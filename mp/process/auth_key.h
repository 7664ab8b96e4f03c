#ifndef MP_PROCESS_AUTH_KEY_H_
#define MP_PROCESS_AUTH_KEY_H_

#include <cstddef>
#include <ostream>
#include <vector>

#include "absl/strings/string_view.h"

namespace mp {

// A secret that processes which know it prove to each other.
//
// Example:
//   const AuthKey key = AuthKey::Random();
//   if (key == AuthKey::FromBytes(offered)) Welcome();
//
// It takes care not to be told by accident: it prints as its length only, it
// is no argument of a process and no message (a process has its parent's key
// anyway), and its memory is wiped when it goes.
//
// Shape:   any bytes, any number of them.
// Units:   bytes.
// Owns:    a copy of the bytes.
// Threads: as a std::string.
// Source:  CPython multiprocessing.process.AuthenticationString. Differs: not
//          even sent at the start of a process, other than by us.
class AuthKey {
 public:
  static constexpr size_t kRandomBytes = 32;

  // Returns kRandomBytes bytes that nobody can guess.
  //
  // Source: man 2 getrandom.
  static AuthKey Random();

  static AuthKey FromBytes(absl::string_view bytes);

  // No bytes.
  AuthKey() = default;

  AuthKey(const AuthKey&) = default;
  AuthKey(AuthKey&& other) noexcept = default;
  AuthKey& operator=(AuthKey other) noexcept;
  ~AuthKey();

  // Returns the secret itself, for as long as the key lives and is unchanged.
  absl::string_view bytes() const { return {bytes_.data(), bytes_.size()}; }

  // Takes a time that depends on the lengths only.
  friend bool operator==(const AuthKey& a, const AuthKey& b);

  // Writes "AuthKey(32 bytes)".
  friend std::ostream& operator<<(std::ostream& out, const AuthKey& key);

 private:
  explicit AuthKey(std::vector<char> bytes);

  // Not a string, which would keep a short secret inside the object itself,
  // and leave it behind in the one that is moved from.
  std::vector<char> bytes_;
};

}  // namespace mp

#endif  // MP_PROCESS_AUTH_KEY_H_
