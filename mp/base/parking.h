#ifndef MP_BASE_PARKING_H_
#define MP_BASE_PARKING_H_

#include <sched.h>

#include <atomic>
#include <climits>
#include <cstdint>

#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"

namespace mp {

// Where processes wait until others have made something true, in memory that
// they share. All zero is one where nobody waits.
//
// Example:
//   // Those who wait:
//   const auto ready = [&] { return count.load() != 0; };
//   while (Await(spot, note, deadline, ready) == AwaitResult::kLookAround) {
//     if (members.IsGone(producer)) return absl::AbortedError("...");
//   }
//   // The one that they wait for:
//   count.store(1, std::memory_order_release);
//   lock.Release();  // or whatever FenceBeforeWake() needs
//   FenceBeforeWake();
//   Wake(spot, 1);
//
// Nobody is woken in vain for long, nor forgotten, whoever is killed: one who
// sleeps says so by a change of the word, and only a word that has not changed
// since all were found awake is made to say that nobody sleeps.
//
// Shape:   4 bytes. The word's lowest bit says that somebody may sleep; above
//          it is a count of wakes, and one of those that went to sleep.
// Threads: safe from any of any process.
// Death:   one who is killed before its Wake() costs those who sleep 50 ms.
// Source:  man 2 futex; docs/models/queue.pml has been checked for lost wakes.
struct ParkingSpot {
  static constexpr uint32_t kMaySleep = 1;
  static constexpr uint32_t kOneWake = 2;
  static constexpr uint32_t kOneSleeper = 1 << 16;

  FutexWord word;
};
static_assert(sizeof(ParkingSpot) == 4);

// On which CPU somebody was last, so that others who wait for him on the same
// one do not keep him from running.
//
// Shape: 4 bytes; all zero if it is not known. Set() is a load, where the C
//        library reads the number from rseq(2), and a store if it is another.
struct CpuNote {
  void Set() {
    const uint32_t here = static_cast<uint32_t>(sched_getcpu()) + 1;
    if (one_more.load(std::memory_order_relaxed) == here) return;
    one_more.store(here, std::memory_order_relaxed);
  }
  bool IsHere() const {
    return one_more.load(std::memory_order_relaxed) ==
           static_cast<uint32_t>(sched_getcpu()) + 1;
  }

  std::atomic<uint32_t> one_more;
};
static_assert(sizeof(CpuNote) == 4);

enum class AwaitResult {
  kReady,
  kExpired,     // not ready at the deadline
  kLookAround,  // not ready for 50 ms: those who are waited for may have died
};

// How long one who waits for several others looks away at first. Each look at
// what others change takes the memory from them; where they go on without a
// pause, one look for many changes is better for both.
//
// Example:
//   pace.LookAway();
//   if (Await(...) == AwaitResult::kReady) pace.Found(count - seen);
//
// Shape:   this process's own. It is a hint: threads need not agree.
// Units:   microseconds at most; where one change comes at a time, or seldom,
//          less than a look takes to reach the others and come back.
class Pace {
 public:
  void LookAway() const;
  // How many changes there were since the last time.
  void Found(uint64_t changes);

 private:
  static constexpr int kMinPauses = 2;
  static constexpr int kMaxPauses = 128;
  static constexpr uint64_t kEnough = 32;

  std::atomic<int> pauses_ = kMinPauses;
};

namespace internal {

// How often it looks before it lets others run, and before it sleeps.
inline constexpr int kLooks = 20;
inline constexpr int kYields = 30;

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

// Has the processor fetch a line of memory that is about to be written, and
// that others have.
inline void FetchToWrite(const void* address) {
#if defined(__x86_64__)
  // Does nothing on those that do not know it.
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(address)));
#else
  __builtin_prefetch(address, /*rw=*/1);
#endif
}

void WakeSleepers(ParkingSpot& spot, int count);

// One sleep in a spot: from the moment that the word says so.
class Sleep {
 public:
  explicit Sleep(ParkingSpot& spot);
  // Until woken, or `deadline`.
  void Wait(const Deadline& deadline);
  ~Sleep();
  Sleep(const Sleep&) = delete;
  Sleep& operator=(const Sleep&) = delete;

 private:
  ParkingSpot& spot_;
  uint32_t word_;
  bool is_alone_;  // nobody slept before
};

// Which of the two comes first.
const Deadline& Earlier(const Deadline& a, const Deadline& b);

}  // namespace internal

inline void Pace::LookAway() const {
  const int pauses = pauses_.load(std::memory_order_relaxed);
  for (int i = 0; i < pauses; ++i) internal::Pause();
}

inline void Pace::Found(uint64_t changes) {
  const int pauses = pauses_.load(std::memory_order_relaxed);
  if (changes < 2 && pauses > kMinPauses) {
    pauses_.store(pauses / 2, std::memory_order_relaxed);
  } else if (changes >= 2 && changes < kEnough && pauses < kMaxPauses) {
    pauses_.store(pauses * 2, std::memory_order_relaxed);
  }
}

// What is between the store that makes it true and Wake(). On x86 any locked
// instruction between the two does it, which the caller has executed.
inline void FenceBeforeWake() {
#if defined(__x86_64__) || defined(__i386__)
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

// Wakes up to `count` of those who sleep. Without a system call if none does.
inline void Wake(ParkingSpot& spot, int count) {
  const uint32_t word = spot.word.load(std::memory_order_relaxed);
  if ((word & ParkingSpot::kMaySleep) == 0) [[likely]]
    return;
  internal::WakeSleepers(spot, count);
}
inline void WakeAll(ParkingSpot& spot) { Wake(spot, INT_MAX); }

// Waits until `ready()` is true: looks for a moment, lets others run, and then
// sleeps. Does not look at the clock before it sleeps. `others` says where those
// are that it waits for.
template <typename Ready>
AwaitResult Await(ParkingSpot& spot, const CpuNote& others,
                  const Deadline& deadline, Ready ready) {
  const int looks = others.IsHere() ? 0 : internal::kLooks;
  for (int i = 0; i < looks; ++i) {
    if (ready()) return AwaitResult::kReady;
    internal::Pause();
  }
  for (int i = 0; i < internal::kYields; ++i) {
    if (ready()) return AwaitResult::kReady;
    sched_yield();
  }
  const Deadline slice(absl::Milliseconds(50));
  while (true) {
    internal::Sleep sleep(spot);
    if (ready()) return AwaitResult::kReady;
    if (deadline.Expired()) return AwaitResult::kExpired;
    if (slice.Expired()) return AwaitResult::kLookAround;
    sleep.Wait(internal::Earlier(deadline, slice));
  }
}

}  // namespace mp

#endif  // MP_BASE_PARKING_H_
