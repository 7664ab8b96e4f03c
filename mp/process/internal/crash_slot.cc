#include "mp/process/internal/crash_slot.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "mp/process/internal/printable.h"

namespace mp::internal {
namespace {

constexpr uint32_t kMaxExitCode = 255;

template <size_t kBytes>
std::string Read(const CrashText<kBytes>& text) {
  const size_t size =
      std::min<size_t>(text.published.load(std::memory_order_acquire), kBytes);
  // A copy first: whoever has the page may change it while we look.
  std::string copy(size, '\0');
  const volatile char* const bytes = text.bytes;
  for (size_t i = 0; i < size; ++i) copy[i] = bytes[i];
  return Printable(absl::StripSuffix(copy, "\n"));
}

std::optional<int> ReadExitCode(const CrashSlot& slot) {
  const uint32_t signal = slot.signal.load(std::memory_order_acquire);
  if (signal > 0 && signal <= static_cast<uint32_t>(SIGRTMAX)) {
    return -static_cast<int>(signal);
  }
  const uint32_t exit = slot.exit_note.load(std::memory_order_acquire);
  if (exit < CrashSlot::kExited || exit > CrashSlot::kExited + kMaxExitCode) {
    return std::nullopt;
  }
  return static_cast<int>(exit - CrashSlot::kExited);
}

}  // namespace

void ClearCrashSlot(CrashSlot& slot) {
  slot.exit_note = 0;
  slot.signal = 0;
  slot.ended_at = 0;
  slot.message.published = 0;
  slot.stack.published = 0;
  slot.known = 0;
}

CrashNote ReadCrashSlot(const CrashSlot& slot) {
  CrashNote note;
  note.exit_code = ReadExitCode(slot);
  const int64_t ended_at = slot.ended_at.load(std::memory_order_acquire);
  if (ended_at > 0) note.ended_at = absl::Nanoseconds(ended_at);
  note.message = Read(slot.message);
  note.stack = Read(slot.stack);
  return note;
}

}  // namespace mp::internal
