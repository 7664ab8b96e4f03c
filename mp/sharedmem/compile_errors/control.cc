#include <array>
#include <atomic>
#include <optional>
#include <utility>

#include "mp/sharedmem/raw_array.h"
#include "mp/sharedmem/raw_value.h"
#include "mp/sharedmem/value.h"

struct Point {
  int x;
  double y;
};

int main() {
  const auto text = mp::RawValue<std::array<char, 16>>::Create();
  const auto ticks = mp::RawValue<std::atomic<int>>::Create(1);
  const auto point = mp::Value<Point>::Create(1, 2.0);
  const auto maybe = mp::RawArray<std::optional<int>>::Create(3);
  const auto pairs = mp::RawValue<std::pair<int, int>>::Create(3, 4);
  return text.ok() && ticks.ok() && point.ok() && maybe.ok() && pairs.ok();
}
