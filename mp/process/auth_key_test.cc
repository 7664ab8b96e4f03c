#include "mp/process/auth_key.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"

namespace mp {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(AuthKeyTest, RandomKeysDiffer) {
  const AuthKey key = AuthKey::Random();
  EXPECT_EQ(key.bytes().size(), AuthKey::kRandomBytes);
  EXPECT_FALSE(key == AuthKey::Random());
}

TEST(AuthKeyTest, HoldsAnyBytes) {
  const std::string bytes("a\0b\xff", 4);
  EXPECT_EQ(AuthKey::FromBytes(bytes).bytes(), bytes);
  EXPECT_EQ(AuthKey().bytes(), "");
}

TEST(AuthKeyTest, IsEqualToThatOfTheSameBytesOnly) {
  const AuthKey key = AuthKey::FromBytes("secret");
  EXPECT_EQ(key, AuthKey::FromBytes("secret"));
  for (const char* other : {"Secret", "secreT", "secre", "secret2", ""}) {
    EXPECT_FALSE(key == AuthKey::FromBytes(other)) << other;
  }
  EXPECT_EQ(AuthKey(), AuthKey::FromBytes(""));
}

TEST(AuthKeyTest, CopiesAndMoves) {
  AuthKey key = AuthKey::FromBytes("secret");
  AuthKey copy = key;
  EXPECT_EQ(copy, key);
  const AuthKey moved = std::move(key);
  EXPECT_EQ(moved, copy);
  EXPECT_EQ(key.bytes(), "");  // NOLINT: that is the test
  copy = AuthKey::FromBytes("another");
  EXPECT_EQ(copy.bytes(), "another");
}

TEST(AuthKeyTest, PrintsAsItsLength) {
  std::ostringstream out;
  out << AuthKey::FromBytes("secret");
  EXPECT_EQ(out.str(), "AuthKey(6 bytes)");
  EXPECT_EQ(::testing::PrintToString(AuthKey()), "AuthKey(0 bytes)");
}

// Returns what lies at an address that need not be ours any more. The kernel
// reads it, so that Address Sanitizer has nothing to say; and into a place that
// cannot be the same.
absl::string_view Peek(const char* address, size_t size) {
  static char bytes[4000];
  const Fd memory(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
  const ssize_t got =
      pread(memory.get(), bytes, std::min(size, sizeof(bytes)),
            static_cast<off_t>(reinterpret_cast<uintptr_t>(address)));
  return {bytes, static_cast<size_t>(std::max<ssize_t>(got, 0))};
}

TEST(AuthKeyTest, LeavesNothingInMemory) {
  const std::string secret(4000, 'k');
  for (const bool assign : {false, true}) {
    std::optional<AuthKey> key = AuthKey::FromBytes(secret);
    const char* const address = key->bytes().data();
    ASSERT_THAT(Peek(address, secret.size()), HasSubstr("kkkkkkkk"));
    if (assign) {
      *key = AuthKey();
    } else {
      key.reset();
    }
    EXPECT_THAT(Peek(address, secret.size()), Not(HasSubstr("kkkkkkkk")));
  }
}

}  // namespace
}  // namespace mp
