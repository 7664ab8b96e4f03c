#ifndef MP_IPC_INTERNAL_PICKLE_WRITER_H_
#define MP_IPC_INTERNAL_PICKLE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/internal/pickle_opcodes.h"
#include "mp/ipc/internal/pickle_output.h"
#include "mp/ipc/object.h"

namespace mp::internal {

// Writes one Object in protocol 4, byte for byte as CPython's pickler would.
//
// The containers that have begun and not ended are in a list, so that it takes
// no more stack for what is nested deeper.
//
// Threads: one, for one pickle.
class PickleWriter {
 public:
  // Errors: kInvalidArgument for a str or a record that cannot be written.
  absl::StatusOr<std::string> Write(const Object& object);

 private:
  struct Open {
    const Object* object;
    size_t next = 0;  // Which of its parts; of a dict keys and values count.
  };

  // In pickle_writer.cc: what has begun, and its end.
  absl::Status Begin(const Object& object);
  absl::Status BeginContainer(const Object& object);
  absl::Status Continue();
  absl::Status ContinueTuple(Open& open);
  absl::Status ContinueFrozenSet(Open& open);
  absl::Status ContinueList(Open& open);
  absl::Status ContinueDict(Open& open);
  absl::Status ContinueSet(Open& open);
  absl::Status ContinueRecord(Open& open);
  // Whether a batch of 1000 parts was full, and this ended it.
  bool EndFullBatch(Open& open, size_t parts_each, PickleOp op);
  void End(const Object& object);

  // In pickle_writer_values.cc: what has no parts, and names.
  void WriteInt(const Object& object);
  void WriteFloat(double value);
  absl::Status WriteStr(const Object& object);
  void WriteBytes(const Object& object);
  void WriteByteArray(const Object& object);
  void WriteShortOrLong(PickleOp with1, PickleOp with4, PickleOp with8,
                        absl::string_view text);
  // The class or function itself.
  void WriteGlobal(absl::string_view module, absl::string_view name);
  void WriteName(absl::string_view name);

  void Memoize(const Object& object);
  void WriteGet(uint64_t number);

  PickleOutput output_;
  std::vector<Open> open_;
  uint64_t memo_size_ = 0;
  absl::flat_hash_map<const ObjectNode*, uint64_t> memo_;
  // Modules, and classes with their modules, which Python has once each.
  absl::flat_hash_map<std::string, uint64_t> modules_;
  absl::flat_hash_map<std::pair<std::string, std::string>, uint64_t> globals_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_PICKLE_WRITER_H_
