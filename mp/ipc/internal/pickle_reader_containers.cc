#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/internal/pickle_reader.h"
#include "mp/ipc/object.h"

namespace mp::internal {

absl::Status PickleReader::PushOpen(ObjectNode* node) {
  node->open = true;
  return Push(ObjectAccess::Adopt(node));
}

// Replaces what lies from `start` on by a tuple of it.
absl::Status PickleReader::PushTuple(size_t start) {
  const auto first = stack_.begin() + static_cast<ptrdiff_t>(start);
  Object tuple = Object::Tuple(Object::Items(
      std::make_move_iterator(first), std::make_move_iterator(stack_.end())));
  stack_.erase(first, stack_.end());
  MP_RETURN_IF_ERROR(CheckLimits(tuple.extent()));
  return Push(std::move(tuple));
}

absl::Status PickleReader::PushTupleOf(size_t size) {
  if (available() < size) return input_.Error("a tuple of what is not there");
  return PushTuple(stack_.size() - size);
}

absl::Status PickleReader::PushFrozenSet() {
  MP_ASSIGN_OR_RETURN(const size_t start, TakeMark());
  auto* const node = new SequenceNode(Object::Kind::kFrozenSet);
  Object set = ObjectAccess::Adopt(node);
  for (size_t i = start; i < stack_.size(); ++i) {
    MP_RETURN_IF_ERROR(CheckKey(stack_[i]));
    node->Insert(std::move(stack_[i]));
  }
  stack_.resize(start);
  MP_RETURN_IF_ERROR(CheckLimits(set.extent()));
  return Push(std::move(set));
}

// The container below `start`, into which goes what lies from there on.
absl::StatusOr<ObjectNode*> PickleReader::OpenBelow(size_t start,
                                                    Object::Kind kind) {
  const size_t bottom = marks_.empty() ? 0 : marks_.back();
  if (start > stack_.size() || start < bottom + 1) {
    return input_.Error("puts something into what is not there");
  }
  const Object& container = stack_[start - 1];
  if (container.kind() != kind) {
    return input_.Error(absl::StrCat("puts something into a ",
                                     KindName(container.kind()), ", not a ",
                                     KindName(kind)));
  }
  ObjectNode* const node = ObjectAccess::Node(container);
  if (!node->open) {
    return input_.Error(absl::StrCat(
        "puts something into a ", KindName(kind),
        " that is in use: one that contains itself cannot be read"));
  }
  return node;
}

absl::Status PickleReader::Append(size_t start) {
  MP_ASSIGN_OR_RETURN(ObjectNode* const node,
                      OpenBelow(start, Object::Kind::kList));
  for (size_t i = start; i < stack_.size(); ++i) {
    static_cast<SequenceNode*>(node)->Append(std::move(stack_[i]));
  }
  stack_.resize(start);
  return CheckLimits(node->extent);
}

absl::Status PickleReader::AddItems(size_t start) {
  MP_ASSIGN_OR_RETURN(ObjectNode* const node,
                      OpenBelow(start, Object::Kind::kSet));
  for (size_t i = start; i < stack_.size(); ++i) {
    MP_RETURN_IF_ERROR(CheckKey(stack_[i]));
    static_cast<SequenceNode*>(node)->Insert(std::move(stack_[i]));
  }
  stack_.resize(start);
  return CheckLimits(node->extent);
}

absl::Status PickleReader::SetItems(size_t start) {
  MP_ASSIGN_OR_RETURN(ObjectNode* const node,
                      OpenBelow(start, Object::Kind::kDict));
  if ((stack_.size() - start) % 2 != 0) {
    return input_.Error("a key of a dict without a value");
  }
  for (size_t i = start; i < stack_.size(); i += 2) {
    MP_RETURN_IF_ERROR(CheckKey(stack_[i]));
    static_cast<DictNode*>(node)->Set(std::move(stack_[i]),
                                      std::move(stack_[i + 1]));
  }
  stack_.resize(start);
  return CheckLimits(node->extent);
}

absl::Status PickleReader::AppendToMark() {
  MP_ASSIGN_OR_RETURN(const size_t start, TakeMark());
  return Append(start);
}

absl::Status PickleReader::AddToMark() {
  MP_ASSIGN_OR_RETURN(const size_t start, TakeMark());
  return AddItems(start);
}

absl::Status PickleReader::SetToMark() {
  MP_ASSIGN_OR_RETURN(const size_t start, TakeMark());
  return SetItems(start);
}

absl::Status PickleReader::CheckKey(const Object& key) const {
  if (key.hashable()) return absl::OkStatus();
  return input_.Error(absl::StrCat("a ", KindName(key.kind()), " of depth ",
                                   key.extent().depth,
                                   " as a key, which is not hashable"));
}

}  // namespace mp::internal
