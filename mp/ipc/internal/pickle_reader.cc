#include "mp/ipc/internal/pickle_reader.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/internal/pickle_opcodes.h"
#include "mp/ipc/object.h"

namespace mp::internal {

using Op = PickleOp;
using Kind = Object::Kind;

absl::StatusOr<Object> PickleReader::Read() {
  MP_RETURN_IF_ERROR(CheckStart());
  while (!stopped_) {
    MP_ASSIGN_OR_RETURN(const uint8_t opcode, input_.TakeOpcode());
    MP_RETURN_IF_ERROR(Step(opcode));
  }
  return Finish();
}

absl::Status PickleReader::CheckStart() {
  if (pickle_bytes_ > limits_.max_bytes) {
    return OverLimit(absl::StrCat("the pickle has ", pickle_bytes_, " bytes"),
                     limits_.max_bytes, "max_bytes");
  }
  if (pickle_bytes_ == 0) return input_.Error("there are no bytes");
  MP_ASSIGN_OR_RETURN(const uint8_t opcode, input_.TakeOpcode());
  if (opcode != static_cast<uint8_t>(Op::kProto)) {
    return input_.Error("not the beginning of a pickle of protocol 2 to 5");
  }
  MP_ASSIGN_OR_RETURN(const uint64_t protocol, input_.TakeNumber(1));
  if (protocol < 2 || protocol > 5) {
    return input_.Error(absl::StrCat("a pickle of protocol ", protocol,
                                     "; 2 to 5 can be read"));
  }
  protocol_ = static_cast<uint8_t>(protocol);
  return absl::OkStatus();
}

// Scalars and the stack; the rest is in StepContainer() and StepOther().
absl::Status PickleReader::Step(uint8_t opcode) {
  switch (static_cast<Op>(opcode)) {
    case Op::kNone:
      return Push(nullptr);
    case Op::kNewTrue:
      return Push(true);
    case Op::kNewFalse:
      return Push(false);
    case Op::kBinInt1:
      return PushInt(1);
    case Op::kBinInt2:
      return PushInt(2);
    case Op::kBinInt:
      return PushInt(4);
    case Op::kLong1:
      return PushLong(1);
    case Op::kLong4:
      return PushLong(4);
    case Op::kBinFloat:
      return PushFloat();
    case Op::kShortBinUnicode:
      return PushStr(1);
    case Op::kBinUnicode:
      return PushStr(4);
    case Op::kBinUnicode8:
      return PushStr(8);
    case Op::kShortBinString:
      return PushAsciiStr(1);
    case Op::kBinString:
      return PushAsciiStr(4);
    case Op::kShortBinBytes:
      return PushBytes(Kind::kBytes, 1);
    case Op::kBinBytes:
      return PushBytes(Kind::kBytes, 4);
    case Op::kBinBytes8:
      return PushBytes(Kind::kBytes, 8);
    case Op::kByteArray8:
      return PushBytes(Kind::kByteArray, 8);
    default:
      return StepContainer(opcode);
  }
}

absl::Status PickleReader::StepContainer(uint8_t opcode) {
  switch (static_cast<Op>(opcode)) {
    case Op::kMark:
      return Mark();
    case Op::kPop:
      return PopAny();
    case Op::kPopMark:
      return PopToMark();
    case Op::kEmptyTuple:
      return PushTupleOf(0);
    case Op::kTuple1:
      return PushTupleOf(1);
    case Op::kTuple2:
      return PushTupleOf(2);
    case Op::kTuple3:
      return PushTupleOf(3);
    case Op::kTuple: {
      MP_ASSIGN_OR_RETURN(const size_t start, TakeMark());
      return PushTuple(start);
    }
    case Op::kEmptyList:
      return PushOpen(new SequenceNode(Kind::kList));
    case Op::kAppend:
      return Append(stack_.size() - 1);
    case Op::kAppends:
      return AppendToMark();
    case Op::kEmptyDict:
      return PushOpen(new DictNode());
    case Op::kSetItem:
      return SetItems(stack_.size() - 2);
    case Op::kSetItems:
      return SetToMark();
    case Op::kEmptySet:
      return PushOpen(new SequenceNode(Kind::kSet));
    case Op::kAddItems:
      return AddToMark();
    case Op::kFrozenSet:
      return PushFrozenSet();
    default:
      return StepOther(opcode);
  }
}

absl::Status PickleReader::StepOther(uint8_t opcode) {
  switch (static_cast<Op>(opcode)) {
    case Op::kBinGet:
      return Get(1);
    case Op::kLongBinGet:
      return Get(4);
    case Op::kBinPut:
      return PutNumbered(1);
    case Op::kLongBinPut:
      return PutNumbered(4);
    case Op::kMemoize:
      return Put(memo_.size());
    case Op::kGlobal:
      return PushGlobalOfLines();
    case Op::kStackGlobal:
      return PushGlobalOfStack();
    case Op::kReduce:
    case Op::kNewObj:
      return Call();
    case Op::kBuild:
      return Build();
    case Op::kFrame:
      return input_.EnterFrame();
    case Op::kStop:
      stopped_ = true;
      return absl::OkStatus();
    case Op::kProto:
      return input_.Error("a second beginning");
    case Op::kNextBuffer:
    case Op::kReadOnlyBuffer:
      return input_.Error(
          "a buffer out of band (protocol 5, buffer_callback), which is not "
          "in the pickle");
    case Op::kNewObjEx:
      return input_.Error("NEWOBJ_EX, which no class that is known needs");
    default:
      return input_.Error(absl::StrFormat(
          "the opcode 0x%02x, which a pickler of protocol 2 to 5 does not "
          "write for values",
          opcode));
  }
}

absl::StatusOr<Object> PickleReader::Finish() {
  if (!marks_.empty()) return input_.Error("the end, within a container");
  if (stack_.size() != 1) {
    return input_.Error(
        absl::StrCat("the end, with ", stack_.size(), " values instead of 1"));
  }
  if (input_.left() > 0) {
    return input_.Error(
        absl::StrCat("the end, and ", input_.left(), " bytes after it"));
  }
  // Also that of one which is no container.
  MP_RETURN_IF_ERROR(CheckLimits(stack_[0].extent()));
  return std::move(stack_[0]);
}

absl::Status PickleReader::Push(Object object) {
  if (++made_ > limits_.max_objects) {
    return OverLimit("there are more values", limits_.max_objects,
                     "max_objects");
  }
  stack_.push_back(std::move(object));
  return absl::OkStatus();
}

size_t PickleReader::available() const {
  return stack_.size() - (marks_.empty() ? 0 : marks_.back());
}

absl::StatusOr<Object> PickleReader::Pop() {
  if (available() == 0) return input_.Error("takes a value where none is");
  Object object = std::move(stack_.back());
  stack_.pop_back();
  return object;
}

absl::Status PickleReader::PopAny() {
  if (available() == 0 && !marks_.empty()) {
    marks_.pop_back();
    return absl::OkStatus();
  }
  return Pop().status();
}

absl::Status PickleReader::PopToMark() {
  MP_ASSIGN_OR_RETURN(const size_t start, TakeMark());
  stack_.resize(start);
  return absl::OkStatus();
}

absl::Status PickleReader::Mark() {
  // Marks take memory like values.
  if (++made_ > limits_.max_objects) {
    return OverLimit("there are more values", limits_.max_objects,
                     "max_objects");
  }
  marks_.push_back(stack_.size());
  return absl::OkStatus();
}

absl::StatusOr<size_t> PickleReader::TakeMark() {
  if (marks_.empty()) return input_.Error("ends what has no beginning");
  const size_t start = marks_.back();
  marks_.pop_back();
  return start;
}

absl::Status PickleReader::CheckLimits(const Object::Extent& extent) const {
  if (extent.depth > limits_.max_depth) {
    return OverLimit("containers are nested deeper", limits_.max_depth,
                     "max_depth");
  }
  if (extent.objects > limits_.max_objects) {
    return OverLimit(
        "there are more values, with those in several places counted each time",
        limits_.max_objects, "max_objects");
  }
  if (extent.text_bytes > limits_.max_text_bytes) {
    return OverLimit(
        "there is more text, with that in several places counted each time",
        limits_.max_text_bytes, "max_text_bytes");
  }
  return absl::OkStatus();
}

absl::Status PickleReader::OverLimit(absl::string_view what, uint64_t limit,
                                     absl::string_view name) const {
  return absl::ResourceExhaustedError(
      absl::StrCat("LoadPickle: at byte ", input_.opcode_offset(), ": ", what,
                   "; PickleLimits::", name, " is ", limit));
}

}  // namespace mp::internal
