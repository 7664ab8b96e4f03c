#include "mp/sharedmem/internal/shared_bytes.h"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/sync/slot_travel.h"

namespace mp {
namespace internal {
namespace {

constexpr bool kSlot = false;
constexpr bool kBlock = true;

}  // namespace

SharedBytes::SharedBytes(Slot slot)
    : data_(static_cast<char*>(slot.data())),
      size_bytes_(slot.size()),
      keep_(std::move(slot)) {}

SharedBytes::SharedBytes(SharedMemory block)
    : data_(block.data().data()),
      size_bytes_(block.size()),
      keep_(std::move(block)) {}

absl::StatusOr<SharedBytes> SharedBytes::Create(size_t bytes) {
  if (bytes <= Arena::kMaxSlotBytes) {
    MP_ASSIGN_OR_RETURN(Arena arena, Arena::Default());
    MP_ASSIGN_OR_RETURN(Slot slot, arena.Allocate(bytes));
    return SharedBytes(std::move(slot));
  }
  if (bytes > static_cast<size_t>(PTRDIFF_MAX)) {
    return absl::InvalidArgumentError(
        absl::StrCat("shared memory of ", bytes, " bytes cannot be"));
  }
  MP_ASSIGN_OR_RETURN(SharedMemory block,
                      SharedMemory::Create(static_cast<int64_t>(bytes)));
  return SharedBytes(std::move(block));
}

absl::Status SharedBytes::Nothing(absl::string_view operation) {
  return absl::FailedPreconditionError(absl::StrCat(
      operation, ": the handle is empty; it was not made by Create()"));
}

}  // namespace internal

using internal::SharedBytes;

void Serializer<SharedBytes>::Encode(const SharedBytes& bytes,
                                     Encoder& encoder) {
  if (const Slot* slot = std::get_if<Slot>(&bytes.keep_)) {
    encoder.Write(internal::kSlot);
    EncodeSlot(*slot, encoder);
  } else if (const auto* block = std::get_if<SharedMemory>(&bytes.keep_)) {
    encoder.Write(internal::kBlock);
    encoder.Write(*block);
  } else {
    encoder.Fail(SharedBytes::Nothing("Encoder::Write"));
  }
}

absl::StatusOr<SharedBytes> Serializer<SharedBytes>::Decode(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const bool is_block, decoder.Read<bool>());
  if (!is_block) {
    MP_ASSIGN_OR_RETURN(Slot slot, DecodeSlot(decoder));
    return SharedBytes(std::move(slot));
  }
  MP_ASSIGN_OR_RETURN(SharedMemory block, decoder.Read<SharedMemory>());
  if (block.data().empty()) {
    return absl::DataLossError("shared memory that cannot be written");
  }
  return SharedBytes(std::move(block));
}

}  // namespace mp
