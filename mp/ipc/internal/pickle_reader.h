#ifndef MP_IPC_INTERNAL_PICKLE_READER_H_
#define MP_IPC_INTERNAL_PICKLE_READER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/internal/pickle_input.h"
#include "mp/ipc/object.h"
#include "mp/ipc/pickle_limits.h"

namespace mp::internal {

// Reads one pickle: a machine with a stack of values and a memo of numbered
// ones, as CPython's, whose program the pickle is.
//
// A list, set, dict or record is filled in place, as long as it is open: from
// when it is made until it is fetched from the memo. Only one that contains
// itself is fetched before it is full, and is refused then. So whatever becomes
// part of a value is complete itself, and its extent known.
//
// Threads: one, for one pickle.
class PickleReader {
 public:
  PickleReader(absl::string_view pickle, const PickleLimits& limits)
      : input_(pickle), limits_(limits), pickle_bytes_(pickle.size()) {}

  absl::StatusOr<Object> Read();

 private:
  // In pickle_reader.cc: the machine.
  absl::Status CheckStart();
  absl::Status Step(uint8_t opcode);
  absl::Status StepContainer(uint8_t opcode);
  absl::Status StepOther(uint8_t opcode);
  absl::StatusOr<Object> Finish();
  absl::Status Push(Object object);
  absl::StatusOr<Object> Pop();
  absl::Status PopAny();
  absl::Status PopToMark();
  // Values above the last mark.
  size_t available() const;
  absl::Status Mark();
  absl::StatusOr<size_t> TakeMark();
  absl::Status CheckLimits(const Object::Extent& extent) const;
  absl::Status OverLimit(absl::string_view what, uint64_t limit,
                         absl::string_view name) const;

  // In pickle_reader_scalars.cc.
  absl::Status PushInt(size_t bytes);
  absl::Status PushLong(size_t length_bytes);
  absl::Status PushFloat();
  absl::Status PushStr(size_t length_bytes);
  absl::Status PushAsciiStr(size_t length_bytes);
  absl::Status PushBytes(Object::Kind kind, size_t length_bytes);

  // In pickle_reader_containers.cc.
  absl::Status PushOpen(ObjectNode* node);
  absl::Status PushTuple(size_t start);
  absl::Status PushTupleOf(size_t size);
  absl::Status PushFrozenSet();
  absl::Status Append(size_t start);
  absl::Status AddItems(size_t start);
  absl::Status SetItems(size_t start);
  absl::Status AppendToMark();
  absl::Status AddToMark();
  absl::Status SetToMark();
  absl::StatusOr<ObjectNode*> OpenBelow(size_t start, Object::Kind kind);
  absl::Status CheckKey(const Object& key) const;

  // In pickle_reader_memo.cc: the memo, classes and calls.
  absl::Status Get(size_t number_bytes);
  absl::Status Put(uint64_t number);
  absl::Status PutNumbered(size_t number_bytes);
  absl::Status PushGlobalOfLines();
  absl::Status PushGlobalOfStack();
  absl::Status PushGlobal(absl::string_view module, absl::string_view name);
  absl::Status Call();
  absl::Status Build();

  PickleInput input_;
  const PickleLimits limits_;
  const uint64_t pickle_bytes_;
  std::vector<Object> stack_;
  std::vector<size_t> marks_;
  absl::flat_hash_map<uint64_t, Object> memo_;
  uint64_t made_ = 0;  // Values so far, those included that were dropped.
  uint8_t protocol_ = 0;
  bool stopped_ = false;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_PICKLE_READER_H_
