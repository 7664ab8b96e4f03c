#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/internal/pickle_opcodes.h"
#include "mp/ipc/internal/pickle_writer.h"
#include "mp/ipc/internal/utf8.h"
#include "mp/ipc/object.h"

namespace mp::internal {
namespace {

using Op = PickleOp;

constexpr size_t kMaxShownBytes = 60;

}  // namespace

void PickleWriter::WriteInt(const Object& object) {
  const int64_t value = object.int64().value_or(
      std::numeric_limits<int64_t>::max());  // Not used if it does not fit.
  if (value >= 0 && value <= 0xff) {
    output_.Write(Op::kBinInt1);
    output_.WriteNumber(value, 1);
  } else if (value >= 0 && value <= 0xffff) {
    output_.Write(Op::kBinInt2);
    output_.WriteNumber(value, 2);
  } else if (value == static_cast<int32_t>(value)) {
    output_.Write(Op::kBinInt);
    output_.WriteNumber(static_cast<uint64_t>(value), 4);
  } else {
    const std::string bytes = object.IntBytes();
    const size_t length_bytes = bytes.size() <= 0xff ? 1 : 4;
    output_.Write(length_bytes == 1 ? Op::kLong1 : Op::kLong4);
    output_.WriteNumber(bytes.size(), length_bytes);
    output_.WriteRaw(bytes);
  }
}

void PickleWriter::WriteFloat(double value) {
  output_.Write(Op::kBinFloat);
  const auto bits = std::bit_cast<uint64_t>(value);
  for (int shift = 56; shift >= 0; shift -= 8) {
    output_.WriteByte(static_cast<uint8_t>(bits >> shift));
  }
}

absl::Status PickleWriter::WriteStr(const Object& object) {
  const std::string& text = *object.str();
  const size_t bad = FindBadUtf8(text);
  if (bad != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("DumpPickle: the str ", object.Repr(kMaxShownBytes),
                     " is not UTF-8 at its byte ", bad,
                     "; Object::Bytes() holds any bytes"));
  }
  WriteShortOrLong(Op::kShortBinUnicode, Op::kBinUnicode, Op::kBinUnicode8,
                   text);
  Memoize(object);
  return absl::OkStatus();
}

void PickleWriter::WriteBytes(const Object& object) {
  WriteShortOrLong(Op::kShortBinBytes, Op::kBinBytes, Op::kBinBytes8,
                   *object.bytes());
  Memoize(object);
}

// A call of bytearray with the bytes. They and the tuple of arguments are in
// the memo too, though nobody can ask for them.
void PickleWriter::WriteByteArray(const Object& object) {
  output_.BeginValue();
  WriteGlobal("builtins", "bytearray");
  output_.BeginValue();
  if (object.size() == 0) {
    output_.Write(Op::kEmptyTuple);
  } else {
    output_.BeginValue();
    WriteShortOrLong(Op::kShortBinBytes, Op::kBinBytes, Op::kBinBytes8,
                     *object.bytes());
    Memoize(nullptr);
    output_.Write(Op::kTuple1);
    Memoize(nullptr);
  }
  output_.Write(Op::kReduce);
  Memoize(object);
}

void PickleWriter::WriteShortOrLong(PickleOp with1, PickleOp with4,
                                    PickleOp with8, absl::string_view text) {
  if (text.size() <= 0xff) {
    output_.WriteText(with1, 1, text);
  } else if (text.size() <= 0xffffffff) {
    output_.WriteText(with4, 4, text);
  } else {
    output_.WriteText(with8, 8, text);
  }
}

void PickleWriter::WriteGlobal(absl::string_view module,
                               absl::string_view name) {
  const std::pair<std::string, std::string> global(module, name);
  const auto known = globals_.find(global);
  if (known != globals_.end()) return WriteGet(known->second);
  output_.BeginValue();
  const auto known_module = modules_.find(global.first);
  if (known_module != modules_.end()) {
    WriteGet(known_module->second);
  } else {
    modules_[global.first] = memo_size_;
    WriteName(module);
  }
  output_.BeginValue();
  WriteName(name);
  output_.Write(Op::kStackGlobal);
  globals_[global] = memo_size_;
  Memoize(nullptr);
}

void PickleWriter::WriteName(absl::string_view name) {
  WriteShortOrLong(Op::kShortBinUnicode, Op::kBinUnicode, Op::kBinUnicode8,
                   name);
  Memoize(nullptr);
}

void PickleWriter::Memoize(const Object& object) {
  if (const ObjectNode* const node = ObjectAccess::Node(object)) {
    memo_[node] = memo_size_;
  }
  ++memo_size_;
  output_.Write(Op::kMemoize);
}

void PickleWriter::WriteGet(uint64_t number) {
  const bool is_short = number <= 0xff;
  output_.Write(is_short ? Op::kBinGet : Op::kLongBinGet);
  output_.WriteNumber(number, is_short ? 1 : 4);
}

}  // namespace mp::internal
