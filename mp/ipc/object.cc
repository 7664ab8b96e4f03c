#include "mp/ipc/object.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/big_integer.h"
#include "mp/ipc/internal/object_equality.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/internal/object_repr.h"

namespace mp {
namespace {

using ::mp::internal::DictNode;
using ::mp::internal::NodeAs;
using ::mp::internal::ObjectAccess;
using ::mp::internal::RecordNode;
using ::mp::internal::SequenceNode;
using ::mp::internal::TextNode;

// In errors.
constexpr size_t kMaxShownBytes = 60;

Object MakeText(Object::Kind kind, std::string text) {
  return ObjectAccess::Adopt(new TextNode(kind, std::move(text)));
}

Object MakeSequence(Object::Kind kind, Object::Items items) {
  auto* const node = new SequenceNode(kind);
  for (const Object& item : items) node->Absorb(item);
  node->items = std::move(items);
  return ObjectAccess::Adopt(node);
}

absl::Status CheckHashable(absl::string_view operation, const Object& key) {
  if (key.hashable()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      operation, ": a key is not hashable: ", KindName(key.kind()), " ",
      key.Repr(kMaxShownBytes), " (depth ", key.extent().depth,
      "; a tuple or frozenset of hashable items is up to ",
      Object::kMaxKeyDepth, ")"));
}

absl::StatusOr<Object> MakeSetOfKind(Object::Kind kind,
                                     absl::string_view operation,
                                     Object::Items items) {
  auto* const node = new SequenceNode(kind);
  const Object set = ObjectAccess::Adopt(node);
  for (Object& item : items) {
    MP_RETURN_IF_ERROR(CheckHashable(operation, item));
    node->Insert(std::move(item));
  }
  return set;
}

Object SetOfKeys(Object::Kind kind, const std::vector<Object::Key>& keys) {
  auto* const node = new SequenceNode(kind);
  for (const Object::Key& key : keys) node->Insert(key.object());
  return ObjectAccess::Adopt(node);
}

absl::Status IsOfAnotherKind(const Object& object, absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("Object::To: ", KindName(object.kind()), " ",
                   object.Repr(kMaxShownBytes), " is no ", wanted));
}

template <typename T>
absl::StatusOr<T> ToInteger(const Object& object) {
  if (object.kind() != Object::Kind::kInt) {
    return IsOfAnotherKind(object, "int");
  }
  constexpr auto kMin = static_cast<int64_t>(std::numeric_limits<T>::min());
  constexpr uint64_t kMax = std::numeric_limits<T>::max();
  const std::optional<int64_t> small = object.int64();
  if (small && *small >= kMin &&
      (*small < 0 || static_cast<uint64_t>(*small) <= kMax)) {
    return static_cast<T>(*small);
  }
  const std::string bytes = object.IntBytes();
  if (!small && kMax == std::numeric_limits<uint64_t>::max() &&
      bytes.size() == 9 && bytes[8] == 0) {
    // Without the sign, which is 0.
    return static_cast<T>(
        *internal::ToInt64(absl::string_view(bytes).substr(0, 8)));
  }
  return absl::OutOfRangeError(absl::StrCat(
      "Object::To: int ", object.Repr(kMaxShownBytes), " does not fit into ",
      8 * sizeof(T), " bits, from ", kMin, " to ", kMax));
}

}  // namespace

Object::Object(std::string text)
    : Object(MakeText(Kind::kStr, std::move(text))) {}

Object::Object(absl::string_view text) : Object(std::string(text)) {}

Object::Object(const char* text) : Object(std::string(text)) {}

void Object::InitUnsigned(uint64_t value) {
  if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    InitInt(static_cast<int64_t>(value));
  } else {
    *this = IntFromBytes(internal::TwosComplementOf(value));
  }
}

Object Object::Bytes(std::string bytes) {
  return MakeText(Kind::kBytes, std::move(bytes));
}

Object Object::ByteArray(std::string bytes) {
  return MakeText(Kind::kByteArray, std::move(bytes));
}

Object Object::List(Items items) {
  return MakeSequence(Kind::kList, std::move(items));
}

Object Object::Tuple(Items items) {
  return MakeSequence(Kind::kTuple, std::move(items));
}

Object Object::Dict(std::vector<std::pair<Key, Object>> pairs) {
  auto* const node = new DictNode();
  for (auto& [key, value] : pairs) node->Set(key.object(), std::move(value));
  return ObjectAccess::Adopt(node);
}

Object Object::Dict() { return Dict({}); }

Object Object::Set(std::vector<Key> items) {
  return SetOfKeys(Kind::kSet, items);
}

Object Object::FrozenSet(std::vector<Key> items) {
  return SetOfKeys(Kind::kFrozenSet, items);
}

absl::StatusOr<Object> Object::MakeDict(Pairs pairs) {
  auto* const node = new DictNode();
  const Object dict = ObjectAccess::Adopt(node);
  for (auto& [key, value] : pairs) {
    MP_RETURN_IF_ERROR(CheckHashable("Object::MakeDict", key));
    node->Set(std::move(key), std::move(value));
  }
  return dict;
}

absl::StatusOr<Object> Object::MakeSet(Items items) {
  return MakeSetOfKind(Kind::kSet, "Object::MakeSet", std::move(items));
}

absl::StatusOr<Object> Object::MakeFrozenSet(Items items) {
  return MakeSetOfKind(Kind::kFrozenSet, "Object::MakeFrozenSet",
                       std::move(items));
}

Object Object::IntFromBytes(absl::string_view bytes) {
  const absl::string_view least = internal::LeastTwosComplement(bytes);
  const std::optional<int64_t> small = internal::ToInt64(least);
  if (small) return Object(*small);
  return MakeText(Kind::kInt, std::string(least));
}

Object Object::FromRecord(ObjectRecord record) {
  return ObjectAccess::Adopt(new RecordNode(std::move(record)));
}

Object Object::Exception(absl::string_view name, Items args) {
  return FromRecord({.module = "builtins",
                     .name = std::string(name),
                     .args = Tuple(std::move(args))});
}

void Object::ShareNode() const {
  content_.node->references.fetch_add(1, std::memory_order_relaxed);
}

void Object::DropNode() {
  if (content_.node->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    internal::DestroyObjectNode(content_.node);
  }
}

std::optional<bool> Object::boolean() const {
  if (kind_ != Kind::kBool) return std::nullopt;
  return content_.integer != 0;
}

std::optional<int64_t> Object::int64() const {
  if (kind_ != Kind::kInt || has_node_) return std::nullopt;
  return content_.integer;
}

std::optional<double> Object::real() const {
  if (kind_ != Kind::kFloat) return std::nullopt;
  return content_.real;
}

const std::string* Object::str() const {
  return kind_ == Kind::kStr ? &NodeAs<TextNode>(*this).text : nullptr;
}

const std::string* Object::bytes() const {
  if (kind_ != Kind::kBytes && kind_ != Kind::kByteArray) return nullptr;
  return &NodeAs<TextNode>(*this).text;
}

const Object::Items* Object::list() const {
  return kind_ == Kind::kList ? &NodeAs<SequenceNode>(*this).items : nullptr;
}

const Object::Items* Object::tuple() const {
  return kind_ == Kind::kTuple ? &NodeAs<SequenceNode>(*this).items : nullptr;
}

const Object::Items* Object::set() const {
  if (kind_ != Kind::kSet && kind_ != Kind::kFrozenSet) return nullptr;
  return &NodeAs<SequenceNode>(*this).items;
}

const Object::Pairs* Object::dict() const {
  return kind_ == Kind::kDict ? &NodeAs<DictNode>(*this).pairs : nullptr;
}

const ObjectRecord* Object::record() const {
  return kind_ == Kind::kRecord ? &NodeAs<RecordNode>(*this).record : nullptr;
}

template <>
absl::StatusOr<bool> Object::To<bool>() const {
  if (const std::optional<bool> value = boolean()) return *value;
  return IsOfAnotherKind(*this, "bool");
}

template <>
absl::StatusOr<int> Object::To<int>() const {
  return ToInteger<int>(*this);
}

template <>
absl::StatusOr<int64_t> Object::To<int64_t>() const {
  return ToInteger<int64_t>(*this);
}

template <>
absl::StatusOr<uint64_t> Object::To<uint64_t>() const {
  return ToInteger<uint64_t>(*this);
}

template <>
absl::StatusOr<double> Object::To<double>() const {
  if (const std::optional<double> value = real()) return *value;
  if (kind_ != Kind::kInt) return IsOfAnotherKind(*this, "float");
  const double value = internal::ToDouble(IntBytes());
  if (Object(value) == *this) return value;
  return absl::OutOfRangeError(absl::StrCat(
      "Object::To: int ", Repr(kMaxShownBytes), " is no float exactly"));
}

template <>
absl::StatusOr<std::string> Object::To<std::string>() const {
  if (const std::string* const text = str()) return *text;
  return IsOfAnotherKind(*this, "str");
}

const Object* Object::Find(const Object& key) const {
  if (kind_ != Kind::kDict) return nullptr;
  const std::optional<size_t> position = internal::FindKey(*this, key);
  return position ? &(*dict())[*position].second : nullptr;
}

bool Object::Contains(const Object& key) const {
  return internal::FindKey(*this, key).has_value();
}

size_t Object::size() const {
  switch (kind_) {
    case Kind::kStr:
    case Kind::kBytes:
    case Kind::kByteArray:
      return NodeAs<TextNode>(*this).text.size();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kSet:
    case Kind::kFrozenSet:
      return NodeAs<SequenceNode>(*this).items.size();
    case Kind::kDict:
      return dict()->size();
    default:
      return 0;
  }
}

std::string Object::IntBytes() const {
  if (kind_ != Kind::kInt) return "";
  if (has_node_) return NodeAs<TextNode>(*this).text;
  return internal::TwosComplementOf(content_.integer);
}

bool Object::hashable() const { return !has_node_ || content_.node->hashable; }

Object::Extent Object::extent() const {
  return has_node_ ? content_.node->extent : Extent();
}

std::string Object::Repr(size_t max_bytes) const {
  return internal::ReprOfObject(*this, max_bytes);
}

bool Object::AreEqual(const Object& a, const Object& b) {
  return internal::ObjectsAreEqual(a, b);
}

uint64_t Object::Hash() const { return internal::HashOfObject(*this); }

absl::string_view KindName(Object::Kind kind) {
  switch (kind) {
    case Object::Kind::kNone:
      return "NoneType";
    case Object::Kind::kBool:
      return "bool";
    case Object::Kind::kInt:
      return "int";
    case Object::Kind::kFloat:
      return "float";
    case Object::Kind::kStr:
      return "str";
    case Object::Kind::kBytes:
      return "bytes";
    case Object::Kind::kByteArray:
      return "bytearray";
    case Object::Kind::kList:
      return "list";
    case Object::Kind::kTuple:
      return "tuple";
    case Object::Kind::kDict:
      return "dict";
    case Object::Kind::kSet:
      return "set";
    case Object::Kind::kFrozenSet:
      return "frozenset";
    case Object::Kind::kRecord:
      return "record";
  }
  return "unknown";
}

}  // namespace mp
