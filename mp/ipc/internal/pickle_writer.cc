#include "mp/ipc/internal/pickle_writer.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/internal/pickle_globals.h"
#include "mp/ipc/internal/pickle_opcodes.h"
#include "mp/ipc/object.h"

namespace mp::internal {
namespace {

using Op = PickleOp;
using Kind = Object::Kind;

// Items that are put into a container at once.
constexpr size_t kBatch = 1000;

absl::Status CheckRecord(const ObjectRecord& record) {
  if (FindPickleGlobal(record.module, record.name) == PickleMaking::kUnknown) {
    return absl::InvalidArgumentError(absl::StrCat(
        "DumpPickle: a record of ", record.module, ".", record.name,
        ", which is none of the classes that can be written; see "
        "mp/ipc/pickle.h"));
  }
  if (record.args.is_none() && record.state.is_none()) return absl::OkStatus();
  if (record.args.tuple() == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "DumpPickle: a record of ", record.module, ".", record.name,
        " whose args are a ", KindName(record.args.kind()), ", not a tuple"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> PickleWriter::Write(const Object& object) {
  MP_RETURN_IF_ERROR(Begin(object));
  while (!open_.empty()) MP_RETURN_IF_ERROR(Continue());
  return std::move(output_).Finish();
}

absl::Status PickleWriter::Begin(const Object& object) {
  output_.BeginValue();
  if (const ObjectNode* const node = ObjectAccess::Node(object)) {
    const auto known = memo_.find(node);
    if (known != memo_.end()) {
      WriteGet(known->second);
      return absl::OkStatus();
    }
  }
  switch (object.kind()) {
    case Kind::kNone:
      output_.Write(Op::kNone);
      return absl::OkStatus();
    case Kind::kBool:
      output_.Write(*object.boolean() ? Op::kNewTrue : Op::kNewFalse);
      return absl::OkStatus();
    case Kind::kInt:
      WriteInt(object);
      return absl::OkStatus();
    case Kind::kFloat:
      WriteFloat(*object.real());
      return absl::OkStatus();
    case Kind::kStr:
      return WriteStr(object);
    case Kind::kBytes:
      WriteBytes(object);
      return absl::OkStatus();
    case Kind::kByteArray:
      WriteByteArray(object);
      return absl::OkStatus();
    default:
      return BeginContainer(object);
  }
}

// A mutable one is in the memo before its items, the others after them.
absl::Status PickleWriter::BeginContainer(const Object& object) {
  switch (object.kind()) {
    case Kind::kTuple:
      if (object.size() == 0) {
        output_.Write(Op::kEmptyTuple);
        return absl::OkStatus();
      }
      if (object.size() > 3) output_.Write(Op::kMark);
      break;
    case Kind::kFrozenSet:
      output_.Write(Op::kMark);
      break;
    case Kind::kList:
      output_.Write(Op::kEmptyList);
      Memoize(object);
      break;
    case Kind::kDict:
      output_.Write(Op::kEmptyDict);
      Memoize(object);
      break;
    case Kind::kSet:
      output_.Write(Op::kEmptySet);
      Memoize(object);
      break;
    default: {
      const ObjectRecord& record = *object.record();
      MP_RETURN_IF_ERROR(CheckRecord(record));
      if (!record.args.is_none()) output_.BeginValue();
      WriteGlobal(record.module, record.name);
      if (record.args.is_none()) return absl::OkStatus();
    }
  }
  open_.push_back({&object, 0});
  return absl::OkStatus();
}

absl::Status PickleWriter::Continue() {
  Open& open = open_.back();
  switch (open.object->kind()) {
    case Kind::kTuple:
      return ContinueTuple(open);
    case Kind::kFrozenSet:
      return ContinueFrozenSet(open);
    case Kind::kList:
      return ContinueList(open);
    case Kind::kDict:
      return ContinueDict(open);
    case Kind::kSet:
      return ContinueSet(open);
    default:
      return ContinueRecord(open);
  }
}

absl::Status PickleWriter::ContinueTuple(Open& open) {
  const Object::Items& items = *open.object->tuple();
  if (open.next < items.size()) return Begin(items[open.next++]);
  constexpr Op kEnds[] = {Op::kTuple, Op::kTuple1, Op::kTuple2, Op::kTuple3};
  output_.Write(kEnds[items.size() > 3 ? 0 : items.size()]);
  End(*open.object);
  return absl::OkStatus();
}

absl::Status PickleWriter::ContinueFrozenSet(Open& open) {
  const Object::Items& items = *open.object->set();
  if (open.next < items.size()) return Begin(items[open.next++]);
  output_.Write(Op::kFrozenSet);
  End(*open.object);
  return absl::OkStatus();
}

bool PickleWriter::EndFullBatch(Open& open, size_t parts_each, PickleOp op) {
  const size_t batch = kBatch * parts_each;
  if (open.next == 0 || open.next % batch != 0) return false;
  output_.Write(op);
  return true;
}

absl::Status PickleWriter::ContinueList(Open& open) {
  const Object::Items& items = *open.object->list();
  const bool ended = EndFullBatch(open, 1, Op::kAppends);
  if (open.next == items.size()) {
    if (items.size() == 1) {
      output_.Write(Op::kAppend);
    } else if (!items.empty() && !ended) {
      output_.Write(Op::kAppends);
    }
    open_.pop_back();
    return absl::OkStatus();
  }
  if (open.next % kBatch == 0 && items.size() != 1) output_.Write(Op::kMark);
  return Begin(items[open.next++]);
}

// After a last batch that is full there is an empty one, as CPython has it.
absl::Status PickleWriter::ContinueDict(Open& open) {
  const Object::Pairs& pairs = *open.object->dict();
  EndFullBatch(open, 2, Op::kSetItems);
  const bool begins = open.next % (2 * kBatch) == 0;
  if (begins && pairs.size() > 1) output_.Write(Op::kMark);
  const size_t i = open.next / 2;
  if (i == pairs.size()) {
    if (!pairs.empty()) {
      output_.Write(pairs.size() == 1 ? Op::kSetItem : Op::kSetItems);
    }
    open_.pop_back();
    return absl::OkStatus();
  }
  const bool is_key = open.next++ % 2 == 0;
  return Begin(is_key ? pairs[i].first : pairs[i].second);
}

absl::Status PickleWriter::ContinueSet(Open& open) {
  const Object::Items& items = *open.object->set();
  EndFullBatch(open, 1, Op::kAddItems);
  if (open.next % kBatch == 0 && !items.empty()) output_.Write(Op::kMark);
  if (open.next == items.size()) {
    if (!items.empty()) output_.Write(Op::kAddItems);
    open_.pop_back();
    return absl::OkStatus();
  }
  return Begin(items[open.next++]);
}

absl::Status PickleWriter::ContinueRecord(Open& open) {
  const ObjectRecord& record = *open.object->record();
  switch (open.next++) {
    case 0:
      return Begin(record.args);
    case 1:
      output_.Write(FindPickleGlobal(record.module, record.name) ==
                            PickleMaking::kNewObj
                        ? Op::kNewObj
                        : Op::kReduce);
      Memoize(*open.object);
      if (!record.state.is_none()) return Begin(record.state);
      break;
    default:
      output_.Write(Op::kBuild);
  }
  open_.pop_back();
  return absl::OkStatus();
}

void PickleWriter::End(const Object& object) {
  Memoize(object);
  open_.pop_back();
}

}  // namespace mp::internal
