#ifndef MP_IPC_INTERNAL_OBJECT_NODE_H_
#define MP_IPC_INTERNAL_OBJECT_NODE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "mp/ipc/internal/key_index.h"
#include "mp/ipc/object.h"

namespace mp::internal {

// What several Objects have in common: the value of one that is not small.
//
// A node is filled by the one who made it, before anybody else knows it. Then
// only the count of references and the hash change.
struct ObjectNode {
  explicit ObjectNode(Object::Kind node_kind) : kind(node_kind) {}

  // Notes that `child` becomes part of this.
  void Absorb(const Object& child);

  std::atomic<uint64_t> references{1};
  std::atomic<uint64_t> hash{0};  // 0 until it is asked for.
  const Object::Kind kind;
  bool hashable = true;
  bool open = false;  // The reader of a pickle may still fill it.
  Object::Extent extent;
};

// A str, bytes, a bytearray, or an int that int64_t cannot hold: then `text` is
// its two's complement, the lowest byte first, of the least length.
struct TextNode : ObjectNode {
  TextNode(Object::Kind kind, std::string node_text);
  const std::string text;
};

// A list, tuple, set or frozenset.
struct SequenceNode : ObjectNode {
  explicit SequenceNode(Object::Kind kind);
  void Append(Object item);
  // For a set. `item` is hashable. Does nothing if it is there already.
  void Insert(Object item);

  std::vector<Object> items;
  KeyIndex index;  // Of a set.
};

struct DictNode : ObjectNode {
  DictNode() : ObjectNode(Object::Kind::kDict) { hashable = false; }
  // `key` is hashable.
  void Set(Object key, Object value);

  Object::Pairs pairs;
  KeyIndex index;
};

struct RecordNode : ObjectNode {
  explicit RecordNode(ObjectRecord node_record);
  void SetState(Object state);

  ObjectRecord record;
};

// The way into an Object, for what belongs to it.
class ObjectAccess {
 public:
  // Makes an Object of a node that nobody refers to.
  static Object Adopt(ObjectNode* node) {
    Object object;
    object.kind_ = node->kind;
    object.has_node_ = true;
    object.content_.node = node;
    return object;
  }

  // Returns null if the value is in the Object itself.
  static ObjectNode* Node(const Object& object) {
    return object.has_node_ ? object.content_.node : nullptr;
  }

  // Returns the node, which the Object refers to no more.
  static ObjectNode* Release(Object& object) {
    if (!object.has_node_) return nullptr;
    object.has_node_ = false;
    object.kind_ = Object::Kind::kNone;
    return object.content_.node;
  }

  static uint64_t Hash(const Object& object) { return object.Hash(); }
};

// The node as what its kind says that it is.
template <typename T>
T& NodeAs(const Object& object) {
  return *static_cast<T*>(ObjectAccess::Node(object));
}

// Frees a node that nobody refers to any more, and all that goes with it,
// however deep.
void DestroyObjectNode(ObjectNode* node);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_OBJECT_NODE_H_
