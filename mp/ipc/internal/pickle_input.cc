#include "mp/ipc/internal/pickle_input.h"

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"

namespace mp::internal {

absl::StatusOr<uint8_t> PickleInput::TakeOpcode() {
  opcode_ = position_;
  MP_ASSIGN_OR_RETURN(const absl::string_view byte, Take(1));
  return static_cast<uint8_t>(byte[0]);
}

absl::StatusOr<absl::string_view> PickleInput::Take(uint64_t size) {
  if (size > left()) {
    return Error(absl::StrCat("cut short: ", size, " bytes are to follow, ",
                              left(), " do"));
  }
  const bool in_frame = position_ < frame_end_;
  if (in_frame && size > frame_end_ - position_) {
    return Error(
        absl::StrCat("goes beyond its frame, which ends at byte ", frame_end_));
  }
  const absl::string_view taken = bytes_.substr(position_, size);
  position_ += size;
  return taken;
}

absl::StatusOr<uint64_t> PickleInput::TakeNumber(size_t bytes) {
  MP_ASSIGN_OR_RETURN(const absl::string_view text, Take(bytes));
  uint64_t number = 0;
  for (size_t i = bytes; i-- > 0;) {
    number = number << 8 | static_cast<uint8_t>(text[i]);
  }
  return number;
}

absl::StatusOr<absl::string_view> PickleInput::TakeText(size_t length_bytes) {
  MP_ASSIGN_OR_RETURN(const uint64_t size, TakeNumber(length_bytes));
  return Take(size);
}

absl::StatusOr<absl::string_view> PickleInput::TakeLine() {
  const size_t end = bytes_.find('\n', position_);
  if (end == absl::string_view::npos) return Error("a line has no end");
  MP_ASSIGN_OR_RETURN(const absl::string_view line, Take(end + 1 - position_));
  return line.substr(0, line.size() - 1);
}

absl::Status PickleInput::EnterFrame() {
  MP_ASSIGN_OR_RETURN(const uint64_t size, TakeNumber(8));
  if (position_ < frame_end_) return Error("a frame begins within another");
  if (size > left()) {
    return Error(absl::StrCat("cut short: a frame of ", size,
                              " bytes is to follow, ", left(), " do"));
  }
  frame_end_ = position_ + size;
  return absl::OkStatus();
}

absl::Status PickleInput::Error(absl::string_view what) const {
  return absl::DataLossError(
      absl::StrCat("LoadPickle: at byte ", opcode_, ": ", what));
}

}  // namespace mp::internal
