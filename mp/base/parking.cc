#include "mp/base/parking.h"

#include <atomic>
#include <cstdint>

#include "mp/base/deadline.h"
#include "mp/base/futex.h"

namespace mp::internal {
namespace {

uint32_t SleepersIn(uint32_t word) { return word / ParkingSpot::kOneSleeper; }

}  // namespace

// The bit stays as long as it wakes as many as it would: there may be more.
void WakeSleepers(ParkingSpot& spot, int count) {
  uint32_t seen = spot.word.load();
  do {
    if ((seen & ParkingSpot::kMaySleep) == 0) return;
  } while (
      !spot.word.compare_exchange_weak(seen, seen + ParkingSpot::kOneWake));
  if (FutexWake(spot.word, count) >= count) return;
  // All are awake, but for those who have come since and changed the word.
  uint32_t mine = seen + ParkingSpot::kOneWake;
  spot.word.compare_exchange_strong(mine, mine & ~ParkingSpot::kMaySleep);
}

Sleep::Sleep(ParkingSpot& spot) : spot_(spot) {
  uint32_t seen = spot.word.load();
  do {
    word_ = (seen + ParkingSpot::kOneSleeper) | ParkingSpot::kMaySleep;
  } while (!spot.word.compare_exchange_weak(seen, word_));
  is_alone_ = (seen & ParkingSpot::kMaySleep) == 0;
  FenceBeforeWake();  // between the word and what its ready() looks at
}

void Sleep::Wait(const Deadline& deadline) {
  FutexWait(spot_.word, word_, deadline);
}

// The only one who sleeps says that none does, which saves others the wake of
// nobody.
Sleep::~Sleep() {
  if (!is_alone_) return;
  uint32_t seen = spot_.word.load();
  if (SleepersIn(seen) != SleepersIn(word_)) return;
  spot_.word.compare_exchange_strong(seen, seen & ~ParkingSpot::kMaySleep);
}

const Deadline& Earlier(const Deadline& a, const Deadline& b) {
  return a.Remaining() < b.Remaining() ? a : b;
}

}  // namespace mp::internal
