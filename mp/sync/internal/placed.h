#ifndef MP_SYNC_INTERNAL_PLACED_H_
#define MP_SYNC_INTERNAL_PLACED_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/arena.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sync/slot_travel.h"

namespace mp::internal {

// What a handle is made of: where a state lies that processes share, who they
// are, and what keeps it there. A handle class has one and nothing else.
//
// Example:
//   absl::StatusOr<Lock> Lock::Create(Options options) {
//     MP_ASSIGN_OR_RETURN(auto placed, Placed<LockState>::Create());
//     placed->on_owner_death = options.on_owner_death;
//     return Lock(std::move(placed));
//   }
//   absl::Status Lock::Release() {
//     if (!placed_) return placed_.Nothing("Lock::Release");
//     return LockWord(*placed_, placed_.members(), "Lock").Release();
//   }
//
// Shape:   a value. A state that ends in an array of variable length says how
//          many bytes it takes up.
// Owns:    a count of its slot, or of the arena of one that lies elsewhere.
// Threads: as a std::shared_ptr: each of several copies may be used by another.
// Fork:    a child has all that its parent had.
template <typename State>
class Placed {
 public:
  // Nowhere.
  Placed() = default;

  // A zeroed state, in a slot of this process's default arena.
  //
  // Errors: those of Arena::Default() and Arena::Allocate().
  static absl::StatusOr<Placed> Create(size_t size_bytes = sizeof(State)) {
    MP_ASSIGN_OR_RETURN(Arena arena, Arena::Default());
    return CreateIn(arena, size_bytes);
  }

  // The same in another arena.
  static absl::StatusOr<Placed> CreateIn(Arena& arena,
                                         size_t size_bytes = sizeof(State)) {
    MP_ASSIGN_OR_RETURN(Slot slot, arena.Allocate(size_bytes));
    return Placed(std::move(slot));
  }

  // One that lies in memory which the caller shares with others, and which
  // outlives the handle. `arena` is one that all of them share, too.
  //
  // Errors:
  //   kInvalidArgument  no pointer, or one that is not aligned; or no arena.
  static absl::StatusOr<Placed> At(State* state, const Arena& arena,
                                   size_t size_bytes = sizeof(State)) {
    const auto address = reinterpret_cast<uintptr_t>(state);
    if (state == nullptr || address % alignof(State) != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "At: the state's address is ", absl::Hex(address),
          ", and must be a multiple of ", alignof(State), " other than 0"));
    }
    if (arena == Arena()) {
      return absl::InvalidArgumentError(
          "At: the arena is empty; use Arena::Default(), or one received");
    }
    return Placed(state, arena, size_bytes);
  }

  Placed(const Placed&) = default;
  Placed& operator=(const Placed&) = default;
  Placed(Placed&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)),
        members_(std::exchange(other.members_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)),
        keep_(std::exchange(other.keep_, {})) {}
  Placed& operator=(Placed&& other) noexcept {
    state_ = std::exchange(other.state_, nullptr);
    members_ = std::exchange(other.members_, nullptr);
    size_bytes_ = std::exchange(other.size_bytes_, 0);
    keep_ = std::exchange(other.keep_, {});
    return *this;
  }

  // Whether there is a state. The calls below need one.
  explicit operator bool() const { return state_ != nullptr; }

  State& operator*() const { return *state_; }
  State* operator->() const { return state_; }
  State* get() const { return state_; }

  // Of the state, with what follows it. At least sizeof(State).
  size_t size_bytes() const { return size_bytes_; }

  Members& members() const { return *members_; }

  // The arena that it lies in, or that says who lives.
  Arena arena() const {
    const Slot* slot = std::get_if<Slot>(&keep_);
    return slot != nullptr ? slot->arena() : std::get<Arena>(keep_);
  }

  // What `operation` answers without a state.
  static absl::Status Nothing(absl::string_view operation) {
    return absl::FailedPreconditionError(
        absl::StrCat(operation,
                     ": the handle is empty; it was not made by Create() or "
                     "At(), or has been moved from"));
  }

  // Writes the slot. `name` is what messages call the handle.
  void Encode(Encoder& encoder, absl::string_view name) const {
    if (const Slot* slot = std::get_if<Slot>(&keep_)) {
      EncodeSlot(*slot, encoder);
    } else if (state_ == nullptr) {
      encoder.Fail(Nothing(name));
    } else {
      encoder.Fail(absl::InvalidArgumentError(absl::StrCat(
          name,
          ": one that was placed with At() does not travel by itself; send "
          "the memory that it lies in, and its arena, and call At() there")));
    }
  }

  // Reads a slot.
  //
  // Errors:
  //   kDataLoss  it is none, or too small.
  static absl::StatusOr<Placed> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(Slot slot, DecodeSlot(decoder));
    if (slot.size() >= sizeof(State)) return Placed(std::move(slot));
    return absl::DataLossError(absl::StrCat("a slot of ", slot.size(),
                                            " bytes where ", sizeof(State),
                                            " are needed"));
  }

  // Whether both are of the same state.
  friend bool operator==(const Placed& a, const Placed& b) {
    return a.state_ == b.state_;
  }

 private:
  explicit Placed(Slot slot)
      : state_(static_cast<State*>(slot.data())),
        members_(&slot.arena().members()),
        size_bytes_(slot.size()),
        keep_(std::move(slot)) {}
  Placed(State* state, const Arena& arena, size_t size_bytes)
      : state_(state),
        members_(&arena.members()),
        size_bytes_(size_bytes),
        keep_(arena) {}

  State* state_ = nullptr;
  Members* members_ = nullptr;
  size_t size_bytes_ = 0;
  std::variant<std::monostate, Slot, Arena> keep_;
};

}  // namespace mp::internal

namespace mp {

template <typename State>
struct Serializer<internal::Placed<State>> {
  static void Encode(const internal::Placed<State>& placed, Encoder& encoder) {
    placed.Encode(encoder, "Placed");
  }
  static absl::StatusOr<internal::Placed<State>> Decode(Decoder& decoder) {
    return internal::Placed<State>::Decode(decoder);
  }
};

}  // namespace mp

#endif  // MP_SYNC_INTERNAL_PLACED_H_
