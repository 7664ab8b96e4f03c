#include "mp/testing/test_scale.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "mp/base/sanitizers.h"

namespace mp::testing {
namespace {

// "" if it is not set.
absl::string_view Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

uint64_t ChooseSeed() {
  uint64_t seed;
  if (absl::SimpleAtoi(Environment("MP_TEST_SEED"), &seed)) return seed;
  return std::random_device()();
}

}  // namespace

bool IsFullTest() { return Environment("MP_TEST_FULL") == "1"; }

int Scaled(int usual, int full) {
  const int number = IsFullTest() ? full : usual;
  const bool is_slow = kAddressSanitizer || kThreadSanitizer;
  return is_slow ? std::max(number / 10, 1) : number;
}

uint64_t TestSeed() {
  static const uint64_t seed = ChooseSeed();
  return seed;
}

}  // namespace mp::testing
