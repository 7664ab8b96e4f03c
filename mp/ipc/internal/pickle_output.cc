#include "mp/ipc/internal/pickle_output.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "mp/ipc/internal/pickle_opcodes.h"

namespace mp::internal {
namespace {

constexpr size_t kFrameHeaderBytes = 9;
constexpr size_t kFullFrameBytes = 64 * 1024;
constexpr size_t kLeastFrameBytes = 4;

void AppendNumber(uint64_t number, size_t bytes, std::string& to) {
  for (size_t i = 0; i < bytes; ++i) {
    to.push_back(static_cast<char>(number >> (8 * i)));
  }
}

}  // namespace

PickleOutput::PickleOutput() {
  bytes_ = {static_cast<char>(PickleOp::kProto), 4};
}

void PickleOutput::BeginValue() {
  if (frame_ != kNoFrame && FrameSize() >= kFullFrameBytes) EndFrame();
}

void PickleOutput::WriteByte(uint8_t byte) {
  EnterFrame();
  bytes_.push_back(static_cast<char>(byte));
}

void PickleOutput::WriteNumber(uint64_t number, size_t bytes) {
  EnterFrame();
  AppendNumber(number, bytes, bytes_);
}

void PickleOutput::WriteRaw(absl::string_view bytes) {
  EnterFrame();
  bytes_.append(bytes.data(), bytes.size());
}

void PickleOutput::WriteText(PickleOp op, size_t length_bytes,
                             absl::string_view text) {
  if (text.size() >= kFullFrameBytes) {
    EndFrame();
  } else {
    EnterFrame();
  }
  bytes_.push_back(static_cast<char>(op));
  AppendNumber(text.size(), length_bytes, bytes_);
  bytes_.append(text.data(), text.size());
}

std::string PickleOutput::Finish() && {
  Write(PickleOp::kStop);
  EndFrame();
  return std::move(bytes_);
}

void PickleOutput::EnterFrame() {
  if (frame_ != kNoFrame) return;
  frame_ = bytes_.size();
  bytes_.append(kFrameHeaderBytes, '\0');
}

void PickleOutput::EndFrame() {
  if (frame_ == kNoFrame) return;
  const size_t size = FrameSize();
  if (size < kLeastFrameBytes) {
    bytes_.erase(frame_, kFrameHeaderBytes);
  } else {
    std::string header(1, static_cast<char>(PickleOp::kFrame));
    AppendNumber(size, 8, header);
    bytes_.replace(frame_, kFrameHeaderBytes, header);
  }
  frame_ = kNoFrame;
}

size_t PickleOutput::FrameSize() const {
  return bytes_.size() - frame_ - kFrameHeaderBytes;
}

}  // namespace mp::internal
