#ifndef MP_IPC_OBJECT_H_
#define MP_IPC_OBJECT_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/process/travel.h"

namespace mp {

struct ObjectRecord;

namespace internal {
class ObjectAccess;
struct ObjectNode;

template <typename T>
concept ObjectInteger =
    std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
    !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> &&
    !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;
}  // namespace internal

// A value of one of Python's own types, known at run time: None, bool, int,
// float, str, bytes, bytearray, list, tuple, dict, set, frozenset; or a record,
// which stands for an object of one of a few classes.
//
// An Object never changes: a copy costs a reference count, and no Object
// contains itself. What was nested once stays cheap to pass on.
//
// Example:
//   mp::Object reply = mp::Object::Dict(
//       {{"ok", true}, {"items", mp::Object::List({42, nullptr, "hello"})}});
//   if (const mp::Object* items = reply.Find("items")) {
//     for (const mp::Object& item : *items->list()) std::cout << item << "\n";
//   }
//   MP_ASSIGN_OR_RETURN(bool ok, reply.Find("ok")->To<bool>());
//
// Shape:   an int has any number of bits. A str is UTF-8, in which single
//          surrogates are allowed as Python has them; other bytes are found
//          when it is sent. A dict and a set keep the order of insertion. May
//          be nested to any depth; what is hashed, to kMaxKeyDepth.
// Owns:    its value, shared with its copies.
// Threads: as an int: an Object is for one thread at a time, copies of it may
//          be used by several.
// Fork:    travels, as a pickle; see pickle.h.
// Source:  Python's "Built-in Types". Differs: no Object changes, a NaN is
//          found by no key, a record is equal to another of the same content.
class Object {
 public:
  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInt,
    kFloat,
    kStr,
    kBytes,
    kByteArray,
    kList,
    kTuple,
    kDict,
    kSet,
    kFrozenSet,
    kRecord,
  };
  using Items = std::vector<Object>;
  using Pairs = std::vector<std::pair<Object, Object>>;
  class Key;

  // How deep a tuple or frozenset may be that is a key of a dict, or in a set.
  static constexpr uint32_t kMaxKeyDepth = 200;

  // None.
  Object() {}
  Object(std::nullptr_t) {}

  template <std::same_as<bool> T>
  Object(T value) : kind_(Kind::kBool), content_{.integer = value} {}

  template <internal::ObjectInteger T>
  Object(T value) {
    if constexpr (std::unsigned_integral<T>) {
      InitUnsigned(value);
    } else {
      InitInt(value);
    }
  }

  Object(float value) : Object(double{value}) {}
  Object(double value) : kind_(Kind::kFloat), content_{.real = value} {}

  // A str, in UTF-8.
  Object(std::string text);
  Object(absl::string_view text);
  Object(const char* text);
  template <std::same_as<std::string_view> T>
  requires(!std::same_as<T, absl::string_view>) Object(T text)
      : Object(std::string(text)) {}

  static Object Bytes(std::string bytes);
  static Object ByteArray(std::string bytes);
  static Object List(Items items);
  static Object Tuple(Items items);

  // A dict, set or frozenset with keys that can be told when this is compiled.
  // Of equal keys the first stays, with the last value.
  static Object Dict(std::vector<std::pair<Key, Object>> pairs);
  static Object Dict();
  static Object Set(std::vector<Key> items);
  static Object FrozenSet(std::vector<Key> items);

  // The same with any keys.
  //
  // Errors:
  //   kInvalidArgument  a key is not hashable: a list, say, or a tuple of one,
  //                     or one that is deeper than kMaxKeyDepth.
  static absl::StatusOr<Object> MakeDict(Pairs pairs);
  static absl::StatusOr<Object> MakeSet(Items items);
  static absl::StatusOr<Object> MakeFrozenSet(Items items);

  // An int of any size, from two's complement, the lowest byte first. No bytes
  // are 0.
  //
  // Source: Python's int.from_bytes(bytes, "little", signed=True).
  static Object IntFromBytes(absl::string_view bytes);

  static Object FromRecord(ObjectRecord record);

  // A record of one of Python's exceptions, such as "ValueError".
  static Object Exception(absl::string_view name, Items args = {});

  Object(const Object& other) { InitCopy(other); }
  Object(Object&& other) noexcept { InitMove(other); }
  Object& operator=(const Object& other) {
    return *this = Object(other);  // Safe if `other` is part of this.
  }
  Object& operator=(Object&& other) noexcept {
    if (this == &other) return *this;
    Object old(std::move(*this));  // Goes last, as `other` may be part of it.
    InitMove(other);
    return *this;
  }
  ~Object() {
    if (has_node_) DropNode();
  }

  Kind kind() const { return kind_; }
  bool is_none() const { return kind_ == Kind::kNone; }

  // The content, or nothing if the Object is of another kind. A pointer lives
  // as long as this Object, or a copy.
  std::optional<bool> boolean() const;
  std::optional<int64_t> int64() const;  // Nor if it does not fit.
  std::optional<double> real() const;    // Of a float, not of an int.
  const std::string* str() const;
  const std::string* bytes() const;  // Of bytes and of a bytearray.
  const Items* list() const;
  const Items* tuple() const;
  const Items* set() const;  // Of a set and of a frozenset.
  const Pairs* dict() const;
  const ObjectRecord* record() const;

  // The content as a bool, integer, floating point number (also of an int that
  // it can hold) or std::string (of a str).
  //
  // Errors:
  //   kInvalidArgument  it is of another kind.
  //   kOutOfRange       it is an int that does not fit.
  template <typename T>
  absl::StatusOr<T> To() const;

  // The value of a dict for `key`, or null if this has none or is no dict.
  const Object* Find(const Object& key) const;

  // Whether `key` is in a set, frozenset or dict.
  bool Contains(const Object& key) const;

  // The number of items, of bytes in text, and 0 for what has no length.
  // (Python's len() of a str counts code points.)
  size_t size() const;

  // Any int as IntFromBytes() takes it, in as few bytes as possible; empty if
  // this is no int.
  std::string IntBytes() const;

  // Whether this can be a key.
  bool hashable() const;

  // How much this is if what is shared is counted each time.
  struct Extent {
    uint32_t depth = 1;
    uint64_t objects = 1;
    uint64_t text_bytes = 0;  // Of all text, bytes and large integers.
  };
  Extent extent() const;

  // As Python's repr(), cut after about `max_bytes`, with "..." at the end.
  // Differs in letters that are new to Unicode, in records, and in integers
  // of thousands of digits, which are in hexadecimal.
  std::string Repr(size_t max_bytes = size_t{1} << 16) const;

  // As Python's ==: numbers by value, whatever their types; bytes and
  // bytearray, set and frozenset by content; list and tuple never.
  friend bool operator==(const Object& a, const Object& b) {
    return AreEqual(a, b);
  }

  friend std::ostream& operator<<(std::ostream& stream, const Object& object) {
    return stream << object.Repr();
  }

  // Equal Objects have equal hashes. Those that are not hashable have one each
  // kind.
  template <typename H>
  friend H AbslHashValue(H state, const Object& object) {
    return H::combine(std::move(state), object.Hash());
  }

 private:
  friend class internal::ObjectAccess;

  static bool AreEqual(const Object& a, const Object& b);
  void InitInt(int64_t value) {
    kind_ = Kind::kInt;
    content_.integer = value;
  }
  void InitUnsigned(uint64_t value);
  void InitCopy(const Object& other) {
    kind_ = other.kind_;
    has_node_ = other.has_node_;
    content_ = other.content_;
    if (has_node_) ShareNode();
  }
  void InitMove(Object& other) {
    kind_ = std::exchange(other.kind_, Kind::kNone);
    has_node_ = std::exchange(other.has_node_, false);
    content_ = other.content_;
  }
  void ShareNode() const;
  void DropNode();
  uint64_t Hash() const;

  union Content {
    int64_t integer;  // Also of a bool.
    double real;
    internal::ObjectNode* node;
  };

  Kind kind_ = Kind::kNone;
  bool has_node_ = false;  // Whether the value is in a node.
  Content content_ = {.integer = 0};
};

// "int", "NoneType": the name of the type in Python.
absl::string_view KindName(Object::Kind kind);

// What can be hashed for sure. Converts from bool, numbers, text and None.
class Object::Key {
 public:
  template <typename T>
  requires std::constructible_from<Object, T> &&
      (!std::same_as<std::remove_cvref_t<T>, Object>)&&(
          !std::same_as<std::remove_cvref_t<T>, Key>)Key(T&& value)
      : object_(std::forward<T>(value)) {}

  // A key of bytes.
  static Key OfBytes(std::string bytes) {
    Key key(nullptr);
    key.object_ = Bytes(std::move(bytes));
    return key;
  }

  const Object& object() const { return object_; }

 private:
  Object object_;
};

// An object of one of the classes that are named in pickle.h. Nothing is known
// of it but what is here.
struct ObjectRecord {
  // "builtins", "ValueError".
  std::string module;
  std::string name;

  // The tuple of arguments of its constructor; or None for the class, or
  // function, itself.
  Object args = Object::Tuple({});

  // What it has set since, mostly a dict, or None.
  Object state = {};
};

template <>
absl::StatusOr<bool> Object::To<bool>() const;
template <>
absl::StatusOr<int64_t> Object::To<int64_t>() const;
template <>
absl::StatusOr<uint64_t> Object::To<uint64_t>() const;
template <>
absl::StatusOr<int> Object::To<int>() const;
template <>
absl::StatusOr<double> Object::To<double>() const;
template <>
absl::StatusOr<std::string> Object::To<std::string>() const;

// As a pickle, within pickle.h's default limits.
template <>
struct Serializer<Object> {
  static void Encode(const Object& object, Encoder& encoder);
  static absl::StatusOr<Object> Decode(Decoder& decoder);
};

}  // namespace mp

#endif  // MP_IPC_OBJECT_H_
