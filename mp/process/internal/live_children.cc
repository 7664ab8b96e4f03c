#include "mp/process/internal/live_children.h"

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <memory>

#include "absl/functional/function_ref.h"

namespace mp::internal {
namespace {

enum class SlotState {
  kFree,
  kBeingWritten,
  kListed,
  // A handler uses it, until the process ends.
  kPinned,
};

struct Slot {
  std::atomic<SlotState> state{SlotState::kFree};
  LiveProcess process = {0, -1, false};
};

// The table grows by these, and they stay.
struct Chunk {
  Slot slots[64];
  std::atomic<Chunk*> next{nullptr};
};

constinit Chunk first_chunk;

// The process whose children are listed. A handler can run in a forked child
// before ForgetLiveChildren() has.
constinit std::atomic<pid_t> table_owner{0};

Chunk& NextChunk(Chunk& chunk) {
  Chunk* next = chunk.next.load(std::memory_order_acquire);
  if (next != nullptr) return *next;
  auto made = std::make_unique<Chunk>();
  if (!chunk.next.compare_exchange_strong(next, made.get())) return *next;
  return *made.release();
}

Slot& TakeSlot() {
  for (Chunk* chunk = &first_chunk;; chunk = &NextChunk(*chunk)) {
    for (Slot& slot : chunk->slots) {
      SlotState state = SlotState::kFree;
      if (slot.state.compare_exchange_strong(state, SlotState::kBeingWritten)) {
        return slot;
      }
    }
  }
}

bool Pin(Slot& slot) {
  SlotState state = SlotState::kListed;
  return slot.state.compare_exchange_strong(state, SlotState::kPinned) ||
         state == SlotState::kPinned;
}

void ForEachSlot(absl::FunctionRef<void(Slot&)> visit) {
  for (Chunk* chunk = &first_chunk; chunk != nullptr;
       chunk = chunk->next.load(std::memory_order_acquire)) {
    for (Slot& slot : chunk->slots) visit(slot);
  }
}

}  // namespace

LiveChild::LiveChild(pid_t pid, int pidfd, bool daemon)
    : slot_(&TakeSlot()), owner_(getpid()) {
  Slot& slot = *static_cast<Slot*>(slot_);
  slot.process = {pid, pidfd, daemon};
  table_owner = owner_;
  slot.state = SlotState::kListed;
}

LiveChild::~LiveChild() {
  if (table_owner != owner_) return;
  SlotState state = SlotState::kListed;
  if (static_cast<Slot*>(slot_)->state.compare_exchange_strong(
          state, SlotState::kFree)) {
    return;
  }
  while (true) pause();
}

void ForEachLiveChild(absl::FunctionRef<void(LiveProcess&)> visit) {
  if (table_owner != getpid()) return;
  ForEachSlot([&](Slot& slot) {
    if (Pin(slot)) visit(slot.process);
  });
}

void ForgetLiveChildren() {
  table_owner = 0;
  ForEachSlot([](Slot& slot) { slot.state = SlotState::kFree; });
}

}  // namespace mp::internal
