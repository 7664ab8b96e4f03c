#include "mp/ipc/internal/object_repr.h"

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/ipc/internal/big_integer.h"
#include "mp/ipc/internal/object_node.h"
#include "mp/ipc/internal/python_text.h"
#include "mp/ipc/object.h"

namespace mp::internal {
namespace {

using Kind = Object::Kind;

class Printer {
 public:
  explicit Printer(size_t max_bytes) : max_bytes_(max_bytes) {}

  std::string Print(const Object& object) {
    Begin(object);
    while (!open_.empty() && text_.size() <= max_bytes_) Continue();
    if (text_.size() > max_bytes_) {
      // Not within a letter.
      size_t end = max_bytes_;
      while (end > 0 && (text_[end] & 0xc0) == 0x80) --end;
      text_.resize(end);
      text_ += "...";
    }
    return std::move(text_);
  }

 private:
  // A container, and which of its parts comes next.
  struct Open {
    const Object* object;
    size_t next = 0;
    absl::string_view end = {};
  };

  void Begin(const Object& object);
  void BeginRecord(const Object& object);
  void Push(const Object& object, absl::string_view begin,
            absl::string_view end) {
    absl::StrAppend(&text_, begin);
    open_.push_back({&object, 0, end});
  }

  // Prints the next part of the innermost container, or its end.
  void Continue();
  const Object* NextOfItems(Open& open, const Object::Items& items);
  const Object* NextOfDict(Open& open);
  const Object* NextOfRecord(Open& open);

  // As much of a long text as can be needed.
  absl::string_view Head(const std::string& text) const {
    return absl::string_view(text).substr(0, max_bytes_ + 4);
  }

  const size_t max_bytes_;
  std::string text_;
  std::vector<Open> open_;
};

void Printer::Begin(const Object& object) {
  switch (object.kind()) {
    case Kind::kNone:
      text_ += "None";
      return;
    case Kind::kBool:
      text_ += *object.boolean() ? "True" : "False";
      return;
    case Kind::kInt:
      text_ += ToText(object.IntBytes());
      return;
    case Kind::kFloat:
      text_ += ReprOfFloat(*object.real());
      return;
    case Kind::kStr:
      text_ += ReprOfStr(Head(*object.str()));
      return;
    case Kind::kBytes:
      text_ += ReprOfBytes(Head(*object.bytes()));
      return;
    case Kind::kByteArray:
      absl::StrAppend(&text_, "bytearray(", ReprOfBytes(Head(*object.bytes())),
                      ")");
      return;
    case Kind::kList:
      return Push(object, "[", "]");
    case Kind::kTuple:
      return Push(object, "(", object.size() == 1 ? ",)" : ")");
    case Kind::kDict:
      return Push(object, "{", "}");
    case Kind::kSet:
      if (object.size() == 0) return Push(object, "set(", ")");
      return Push(object, "{", "}");
    case Kind::kFrozenSet:
      if (object.size() == 0) return Push(object, "frozenset(", ")");
      return Push(object, "frozenset({", "})");
    case Kind::kRecord:
      return BeginRecord(object);
  }
}

void Printer::BeginRecord(const Object& object) {
  const ObjectRecord& record = *object.record();
  if (record.module != "builtins") {
    absl::StrAppend(&text_, Head(record.module), ".");
  }
  absl::StrAppend(&text_, Head(record.name));
  if (record.args.is_none()) return;  // The class itself.
  Push(object, "(", ")");
}

void Printer::Continue() {
  Open& open = open_.back();
  const Object* next = nullptr;
  switch (open.object->kind()) {
    case Kind::kDict:
      next = NextOfDict(open);
      break;
    case Kind::kRecord:
      next = NextOfRecord(open);
      break;
    default:
      next = NextOfItems(open, NodeAs<SequenceNode>(*open.object).items);
  }
  if (next != nullptr) return Begin(*next);  // Which may move `open`.
  absl::StrAppend(&text_, open.end);
  open_.pop_back();
}

const Object* Printer::NextOfItems(Open& open, const Object::Items& items) {
  if (open.next == items.size()) return nullptr;
  if (open.next > 0) text_ += ", ";
  return &items[open.next++];
}

const Object* Printer::NextOfDict(Open& open) {
  const Object::Pairs& pairs = *open.object->dict();
  const size_t i = open.next / 2;
  if (i == pairs.size()) return nullptr;
  if (open.next++ % 2 != 0) {
    text_ += ": ";
    return &pairs[i].second;
  }
  if (i > 0) text_ += ", ";
  return &pairs[i].first;
}

const Object* Printer::NextOfRecord(Open& open) {
  const ObjectRecord& record = *open.object->record();
  const Object::Items* const args = record.args.tuple();
  if (args != nullptr && open.next < args->size()) {
    return NextOfItems(open, *args);
  }
  const size_t end = args != nullptr ? args->size() : 0;
  if (open.next > end || record.state.is_none()) return nullptr;
  absl::StrAppend(&text_, end > 0 ? ", " : "", "state=");
  open.next = end + 1;
  return &record.state;
}

}  // namespace

std::string ReprOfObject(const Object& object, size_t max_bytes) {
  return Printer(max_bytes).Print(object);
}

}  // namespace mp::internal
