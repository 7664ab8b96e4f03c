#ifndef MP_IPC_INTERNAL_PICKLE_INPUT_H_
#define MP_IPC_INTERNAL_PICKLE_INPUT_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mp::internal {

// The bytes of a pickle, which nothing is read beyond, nor beyond its frames.
//
// Owns: nothing: the bytes stay where they are.
class PickleInput {
 public:
  explicit PickleInput(absl::string_view bytes) : bytes_(bytes) {}

  // Starts with the next opcode, to which errors refer.
  absl::StatusOr<uint8_t> TakeOpcode();

  // Takes as many bytes. Errors: kDataLoss.
  absl::StatusOr<absl::string_view> Take(uint64_t size);

  // Takes a number of so many bytes, the lowest first.
  absl::StatusOr<uint64_t> TakeNumber(size_t bytes);

  // Takes a length of so many bytes, and as many bytes as it says.
  absl::StatusOr<absl::string_view> TakeText(size_t length_bytes);

  // Takes up to the next newline, which is dropped.
  absl::StatusOr<absl::string_view> TakeLine();

  // Takes the length of a frame, which begins here.
  absl::Status EnterFrame();

  // Bytes to the end of all.
  size_t left() const { return bytes_.size() - position_; }

  // kDataLoss with the place of the present opcode.
  absl::Status Error(absl::string_view what) const;

  size_t opcode_offset() const { return opcode_; }

 private:
  absl::string_view bytes_;
  size_t position_ = 0;
  size_t opcode_ = 0;
  size_t frame_end_ = 0;  // Not beyond position_ outside of frames.
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_PICKLE_INPUT_H_
