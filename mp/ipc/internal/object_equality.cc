#include "mp/ipc/internal/object_equality.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/hash/hash.h"
#include "mp/ipc/internal/big_integer.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/object.h"

namespace mp::internal {
namespace {

using Kind = Object::Kind;

constexpr double kInt64End = 9223372036854775808.0;  // 2^63

// Kinds that can be equal to each other.
enum class Family {
  kNone,
  kNumber,
  kStr,
  kBytes,
  kList,
  kTuple,
  kDict,
  kSet,
  kRecord
};

Family FamilyOf(Kind kind) {
  switch (kind) {
    case Kind::kNone:
      return Family::kNone;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return Family::kNumber;
    case Kind::kStr:
      return Family::kStr;
    case Kind::kBytes:
    case Kind::kByteArray:
      return Family::kBytes;
    case Kind::kList:
      return Family::kList;
    case Kind::kTuple:
      return Family::kTuple;
    case Kind::kDict:
      return Family::kDict;
    case Kind::kSet:
    case Kind::kFrozenSet:
      return Family::kSet;
    case Kind::kRecord:
      return Family::kRecord;
  }
  return Family::kNone;
}

// An int that fits, or a truth value.
std::optional<int64_t> SmallInteger(const Object& object) {
  if (const auto truth = object.boolean()) return *truth;
  return object.int64();
}

// A float that is the same number as an int64_t.
std::optional<int64_t> SmallInteger(double real) {
  // Written so that a NaN is none.
  if (!(real >= -kInt64End && real < kInt64End)) return std::nullopt;
  const auto integer = static_cast<int64_t>(real);
  if (static_cast<double>(integer) != real) return std::nullopt;
  return integer;
}

bool IsLargeInteger(double real) {
  return std::isfinite(real) && std::fabs(real) >= kInt64End;
}

bool RealEquals(double real, const Object& integer) {
  if (const auto small = SmallInteger(integer)) {
    return SmallInteger(real) == small;
  }
  return IsLargeInteger(real) &&
         TwosComplementOf(real) == NodeAs<TextNode>(integer).text;
}

bool NumbersAreEqual(const Object& a, const Object& b) {
  const std::optional<double> real_a = a.real();
  const std::optional<double> real_b = b.real();
  if (real_a && real_b) return *real_a == *real_b;
  if (real_a) return RealEquals(*real_a, b);
  if (real_b) return RealEquals(*real_b, a);
  const std::optional<int64_t> small = SmallInteger(a);
  if (small != SmallInteger(b)) return false;
  return small || NodeAs<TextNode>(a).text == NodeAs<TextNode>(b).text;
}

// Compares two Objects, and those in them, by a list of what is left.
class Comparison {
 public:
  bool Run(const Object& a, const Object& b) {
    if (!Compare(a, b)) return false;
    while (!left_.empty()) {
      const auto [left, right] = left_.back();
      left_.pop_back();
      if (!CompareInside(*left, *right)) return false;
    }
    return true;
  }

 private:
  // Compares them, apart from what is inside of containers.
  bool Compare(const Object& a, const Object& b) {
    const Family family = FamilyOf(a.kind());
    if (family != FamilyOf(b.kind())) return false;
    if (family == Family::kNone) return true;
    const ObjectNode* const node = ObjectAccess::Node(a);
    if (node != nullptr && node == ObjectAccess::Node(b)) return true;
    if (family == Family::kNumber) return NumbersAreEqual(a, b);
    if (family == Family::kStr || family == Family::kBytes) {
      return NodeAs<TextNode>(a).text == NodeAs<TextNode>(b).text;
    }
    if (a.size() != b.size()) return false;
    left_.emplace_back(&a, &b);
    return true;
  }

  bool CompareInside(const Object& a, const Object& b) {
    switch (FamilyOf(a.kind())) {
      case Family::kSet:
        return CompareSets(a, b);
      case Family::kDict:
        return CompareDicts(a, b);
      case Family::kRecord:
        return CompareRecords(*a.record(), *b.record());
      default:
        return CompareSequences(NodeAs<SequenceNode>(a).items,
                                NodeAs<SequenceNode>(b).items);
    }
  }

  bool CompareSequences(const Object::Items& a, const Object::Items& b) {
    for (size_t i = 0; i < a.size(); ++i) {
      if (!Compare(a[i], b[i])) return false;
    }
    return true;
  }

  static bool CompareSets(const Object& a, const Object& b) {
    for (const Object& item : *a.set()) {
      if (!FindKey(b, item).has_value()) return false;
    }
    return true;
  }

  bool CompareDicts(const Object& a, const Object& b) {
    for (const auto& [key, value] : *a.dict()) {
      const Object* const other = b.Find(key);
      if (other == nullptr || !Compare(value, *other)) return false;
    }
    return true;
  }

  bool CompareRecords(const ObjectRecord& a, const ObjectRecord& b) {
    return a.module == b.module && a.name == b.name &&
           Compare(a.args, b.args) && Compare(a.state, b.state);
  }

  std::vector<std::pair<const Object*, const Object*>> left_;
};

uint64_t Mix(uint64_t a, uint64_t b) {
  static const uint64_t seed =
      uint64_t{std::random_device{}()} << 32 | std::random_device{}();
  return absl::HashOf(seed, a, b);
}

uint64_t HashOfText(const std::string& text) {
  return Mix(0, absl::HashOf(text));
}

uint64_t HashOfNumber(const Object& number) {
  if (const auto integer = SmallInteger(number)) {
    return Mix(1, static_cast<uint64_t>(*integer));
  }
  const std::optional<double> real = number.real();
  if (!real) return HashOfText(NodeAs<TextNode>(number).text);
  if (const auto integer = SmallInteger(*real)) {
    return Mix(1, static_cast<uint64_t>(*integer));
  }
  if (IsLargeInteger(*real)) return HashOfText(TwosComplementOf(*real));
  return Mix(2, absl::HashOf(*real));
}

uint64_t HashOfNode(const Object& object) {
  uint64_t hash = static_cast<uint64_t>(FamilyOf(object.kind()));
  if (!object.hashable()) return hash;
  switch (object.kind()) {
    case Kind::kTuple:
      for (const Object& item : *object.tuple()) {
        hash = Mix(hash, HashOfObject(item));
      }
      return hash;
    case Kind::kFrozenSet:  // In any order.
      for (const Object& item : *object.set()) hash += HashOfObject(item);
      return hash;
    case Kind::kInt:
      return HashOfNumber(object);
    default:
      return HashOfText(NodeAs<TextNode>(object).text) + hash;
  }
}

}  // namespace

bool ObjectsAreEqual(const Object& a, const Object& b) {
  return Comparison().Run(a, b);
}

uint64_t HashOfObject(const Object& object) {
  ObjectNode* const node = ObjectAccess::Node(object);
  if (node == nullptr) return object.is_none() ? 1 : HashOfNumber(object);
  uint64_t hash = node->hash.load(std::memory_order_relaxed);
  if (hash == 0) {
    hash = HashOfNode(object);
    if (hash == 0) hash = 1;
    node->hash.store(hash, std::memory_order_relaxed);
  }
  return hash;
}

std::optional<size_t> FindKey(const Object& container, const Object& key) {
  if (!key.hashable()) return std::nullopt;
  const uint64_t hash = HashOfObject(key);
  if (const Object::Pairs* const pairs = container.dict()) {
    return NodeAs<DictNode>(container).index.Find(
        hash, [&](size_t i) { return (*pairs)[i].first == key; });
  }
  if (const Object::Items* const items = container.set()) {
    return NodeAs<SequenceNode>(container).index.Find(
        hash, [&](size_t i) { return (*items)[i] == key; });
  }
  return std::nullopt;
}

}  // namespace mp::internal
