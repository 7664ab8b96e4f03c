#ifndef MP_IPC_INTERNAL_PICKLE_OUTPUT_H_
#define MP_IPC_INTERNAL_PICKLE_OUTPUT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "mp/ipc/internal/pickle_opcodes.h"

namespace mp::internal {

// The bytes of a pickle of protocol 4 that is being written, in frames of 64
// KiB where CPython has them.
//
// Source: CPython Modules/_pickle.c, _Pickler_Write() and
// _Pickler_OpcodeBoundary().
class PickleOutput {
 public:
  PickleOutput();

  // Says that a value begins here. A frame that is full ends before it.
  void BeginValue();

  void Write(PickleOp op) { WriteByte(static_cast<uint8_t>(op)); }
  void WriteByte(uint8_t byte);

  // Writes a number in so many bytes, the lowest first.
  void WriteNumber(uint64_t number, size_t bytes);
  void WriteRaw(absl::string_view bytes);

  // Writes a length in so many bytes, and the text. A large one gets no frame.
  void WriteText(PickleOp op, size_t length_bytes, absl::string_view text);

  // Ends the pickle and returns it.
  std::string Finish() &&;

 private:
  static constexpr size_t kNoFrame = static_cast<size_t>(-1);

  // Leaves room for the header of a frame, unless one is open.
  void EnterFrame();
  void EndFrame();
  size_t FrameSize() const;

  std::string bytes_;
  size_t frame_ = kNoFrame;  // Where its header is.
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_PICKLE_OUTPUT_H_
