#include "mp/ipc/internal/object_node.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mp/ipc/object.h"

namespace mp::internal {
namespace {

using Kind = Object::Kind;

template <typename T>
T AddUpTo(T a, T b) {
  return a > std::numeric_limits<T>::max() - b ? std::numeric_limits<T>::max()
                                               : a + b;
}

// Takes a part out of a node that goes, and puts it on the list if it goes too.
void LetGo(Object& part, std::vector<ObjectNode*>& dead) {
  ObjectNode* const node = ObjectAccess::Release(part);
  if (node == nullptr) return;
  if (node->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    dead.push_back(node);
  }
}

// Frees one node, whose parts go on the list.
void Free(ObjectNode* node, std::vector<ObjectNode*>& dead) {
  switch (node->kind) {
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kSet:
    case Kind::kFrozenSet: {
      auto* const sequence = static_cast<SequenceNode*>(node);
      for (Object& item : sequence->items) LetGo(item, dead);
      delete sequence;
      return;
    }
    case Kind::kDict: {
      auto* const dict = static_cast<DictNode*>(node);
      for (auto& [key, value] : dict->pairs) {
        LetGo(key, dead);
        LetGo(value, dead);
      }
      delete dict;
      return;
    }
    case Kind::kRecord: {
      auto* const record = static_cast<RecordNode*>(node);
      LetGo(record->record.args, dead);
      LetGo(record->record.state, dead);
      delete record;
      return;
    }
    default:
      delete static_cast<TextNode*>(node);
  }
}

}  // namespace

void ObjectNode::Absorb(const Object& child) {
  const Object::Extent more = child.extent();
  extent.depth = std::max(extent.depth, AddUpTo<uint32_t>(more.depth, 1));
  extent.objects = AddUpTo(extent.objects, more.objects);
  extent.text_bytes = AddUpTo(extent.text_bytes, more.text_bytes);
  hashable =
      hashable && child.hashable() && extent.depth <= Object::kMaxKeyDepth;
}

TextNode::TextNode(Kind kind, std::string node_text)
    : ObjectNode(kind), text(std::move(node_text)) {
  extent.text_bytes = text.size();
  hashable = kind != Kind::kByteArray;
}

SequenceNode::SequenceNode(Kind kind) : ObjectNode(kind) {
  hashable = kind == Kind::kTuple || kind == Kind::kFrozenSet;
}

void SequenceNode::Append(Object item) {
  Absorb(item);
  items.push_back(std::move(item));
}

void SequenceNode::Insert(Object item) {
  const uint64_t hash = ObjectAccess::Hash(item);
  if (index.Find(hash, [&](size_t i) { return items[i] == item; })) return;
  index.Add(hash, [&](size_t i) { return ObjectAccess::Hash(items[i]); });
  Append(std::move(item));
}

void DictNode::Set(Object key, Object value) {
  const uint64_t hash = ObjectAccess::Hash(key);
  const std::optional<size_t> position =
      index.Find(hash, [&](size_t i) { return pairs[i].first == key; });
  Absorb(value);
  if (position.has_value()) {
    pairs[*position].second = std::move(value);
    return;
  }
  Absorb(key);
  index.Add(hash, [&](size_t i) { return ObjectAccess::Hash(pairs[i].first); });
  pairs.emplace_back(std::move(key), std::move(value));
}

RecordNode::RecordNode(ObjectRecord node_record)
    : ObjectNode(Kind::kRecord), record(std::move(node_record)) {
  hashable = false;
  extent.text_bytes = record.module.size() + record.name.size();
  Absorb(record.args);
  Absorb(record.state);
}

void RecordNode::SetState(Object state) {
  Absorb(state);
  record.state = std::move(state);
}

void DestroyObjectNode(ObjectNode* node) {
  std::vector<ObjectNode*> dead;
  while (true) {
    Free(node, dead);
    if (dead.empty()) return;
    node = dead.back();
    dead.pop_back();
  }
}

}  // namespace mp::internal
