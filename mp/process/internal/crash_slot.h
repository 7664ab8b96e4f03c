#ifndef MP_PROCESS_INTERNAL_CRASH_SLOT_H_
#define MP_PROCESS_INTERNAL_CRASH_SLOT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/futex.h"

namespace mp::internal {

// Text that grows at its end. What has been published stays as it is, so a
// reader sees whole pieces only, even if the writer dies inside Append().
template <size_t kBytes>
struct CrashText {
  std::atomic<uint32_t> published;
  char bytes[kBytes];

  // Adds all of `text`, or nothing and returns false if there is no room. For
  // one writer at a time. Async-signal-safe.
  bool Append(absl::string_view text) {
    const uint32_t begin = published.load(std::memory_order_relaxed);
    if (begin > kBytes || text.size() > kBytes - begin) return false;
    for (size_t i = 0; i < text.size(); ++i) bytes[begin + i] = text[i];
    published.store(begin + static_cast<uint32_t>(text.size()),
                    std::memory_order_release);
    return true;
  }
};

// What a process says of its own end, in a page that it shares with the one
// that started it. All zero: nothing yet.
//
// Shape: 4 KiB, as in docs/crash_slot.md.
struct CrashSlot {
  // The exit code, plus kExited, written last thing.
  static constexpr uint32_t kExited = 0x100;
  std::atomic<uint32_t> exit_note;
  // The signal of the crash, written before its stack.
  std::atomic<uint32_t> signal;
  // When it wrote either, in nanoseconds of CLOCK_MONOTONIC.
  std::atomic<int64_t> ended_at;
  // In words, what went wrong.
  CrashText<700> message;
  // Where, and by what calls.
  CrashText<3368> stack;
  // Its pid, once the starter knows it by a pidfd. Not of the end, but the
  // page is there.
  FutexWord known;
};
inline constexpr size_t kCrashSlotBytes = 4096;
static_assert(sizeof(CrashSlot) == kCrashSlotBytes);
static_assert(offsetof(CrashSlot, message) == 16);
static_assert(offsetof(CrashSlot, stack) == 720);
static_assert(offsetof(CrashSlot, known) == 4092);

// Makes it all zero, but for the text, which is not published any more.
void ClearCrashSlot(CrashSlot& slot);

// The same for people.
struct CrashNote {
  // As of Process::exitcode(). A crash comes after an exit.
  std::optional<int> exit_code;
  // On CLOCK_MONOTONIC.
  std::optional<absl::Duration> ended_at;
  std::string message;
  std::string stack;
};

// Reads what there is. The page may hold anything: what cannot be is left out,
// and what cannot be shown is escaped.
CrashNote ReadCrashSlot(const CrashSlot& slot);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_CRASH_SLOT_H_
