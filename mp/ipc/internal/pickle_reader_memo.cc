#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/internal/pickle_call.h"
#include "mp/ipc/internal/pickle_globals.h"
#include "mp/ipc/internal/pickle_reader.h"
#include "mp/ipc/object.h"

namespace mp::internal {
namespace {

constexpr size_t kMaxShownBytes = 100;

}  // namespace

absl::Status PickleReader::Get(size_t number_bytes) {
  MP_ASSIGN_OR_RETURN(const uint64_t number, input_.TakeNumber(number_bytes));
  const auto found = memo_.find(number);
  if (found == memo_.end()) {
    return input_.Error(
        absl::StrCat("value ", number, " of the memo, which is not there"));
  }
  // From here on it is in two places.
  ObjectNode* const node = ObjectAccess::Node(found->second);
  if (node != nullptr) node->open = false;
  return Push(found->second);
}

absl::Status PickleReader::Put(uint64_t number) {
  if (available() == 0) return input_.Error("nothing to put into the memo");
  // As many as there are values, at most.
  if (memo_.size() >= limits_.max_objects && !memo_.contains(number)) {
    return OverLimit("the memo has more values", limits_.max_objects,
                     "max_objects");
  }
  memo_[number] = stack_.back();
  return absl::OkStatus();
}

absl::Status PickleReader::PutNumbered(size_t number_bytes) {
  MP_ASSIGN_OR_RETURN(const uint64_t number, input_.TakeNumber(number_bytes));
  return Put(number);
}

absl::Status PickleReader::PushGlobalOfLines() {
  MP_ASSIGN_OR_RETURN(const absl::string_view module, input_.TakeLine());
  MP_ASSIGN_OR_RETURN(const absl::string_view name, input_.TakeLine());
  return PushGlobal(module, name);
}

absl::Status PickleReader::PushGlobalOfStack() {
  MP_ASSIGN_OR_RETURN(const Object name, Pop());
  MP_ASSIGN_OR_RETURN(const Object module, Pop());
  if (module.str() == nullptr || name.str() == nullptr) {
    return input_.Error("a class whose name is no str");
  }
  return PushGlobal(*module.str(), *name.str());
}

absl::Status PickleReader::PushGlobal(absl::string_view module,
                                      absl::string_view name) {
  ObjectRecord record = {std::string(module), std::string(name), nullptr};
  if (protocol_ < 3) RenamePython2Global(record.module, record.name);
  if (FindPickleGlobal(record.module, record.name) == PickleMaking::kUnknown) {
    return input_.Error(absl::StrCat(
        absl::CHexEscape(record.module.substr(0, kMaxShownBytes)), ".",
        absl::CHexEscape(record.name.substr(0, kMaxShownBytes)),
        " is none of the classes and functions that can be read; see "
        "mp/ipc/pickle.h"));
  }
  return Push(Object::FromRecord(std::move(record)));
}

absl::Status PickleReader::Call() {
  MP_ASSIGN_OR_RETURN(Object args, Pop());
  MP_ASSIGN_OR_RETURN(const Object function, Pop());
  absl::StatusOr<Object> object = ObjectOfCall(function, std::move(args));
  if (!object.ok()) return input_.Error(object.status().message());
  MP_RETURN_IF_ERROR(CheckLimits(object->extent()));
  if (object->record() != nullptr) ObjectAccess::Node(*object)->open = true;
  return Push(*std::move(object));
}

absl::Status PickleReader::Build() {
  MP_ASSIGN_OR_RETURN(Object state, Pop());
  MP_ASSIGN_OR_RETURN(ObjectNode* const node,
                      OpenBelow(stack_.size(), Object::Kind::kRecord));
  auto* const record = static_cast<RecordNode*>(node);
  if (!record->record.state.is_none()) {
    return input_.Error("an object that gets its state twice");
  }
  record->SetState(std::move(state));
  return CheckLimits(node->extent);
}

}  // namespace mp::internal
