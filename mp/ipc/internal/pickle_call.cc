#include "mp/ipc/internal/pickle_call.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/pickle_globals.h"
#include "mp/ipc/internal/utf8.h"
#include "mp/ipc/object.h"

namespace mp::internal {
namespace {

constexpr size_t kMaxShownBytes = 100;

absl::Status NotWithThese(const ObjectRecord& function, const Object& args) {
  return absl::InvalidArgumentError(
      absl::StrCat(function.module, ".", function.name, " with arguments ",
                   args.Repr(kMaxShownBytes), " is not what a pickler writes"));
}

bool IsLatin1(const Object& encoding) {
  const std::string* const name = encoding.str();
  return name != nullptr &&
         (*name == "latin1" || *name == "latin-1" || *name == "iso-8859-1");
}

// The bytes that text has in Latin-1.
absl::StatusOr<std::string> EncodeLatin1(absl::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const Utf8Letter letter = FirstLetter(text);
    if (letter.bytes == 0 || letter.code_point > 0xff) {
      return absl::InvalidArgumentError("text that is not Latin-1");
    }
    bytes.push_back(static_cast<char>(letter.code_point));
    text.remove_prefix(letter.bytes);
  }
  return bytes;
}

// The bytes of bytes(), bytearray(b"..."), encode("...", "latin1").
absl::StatusOr<std::string> BytesOfCall(const ObjectRecord& function,
                                        const Object& args) {
  const Object::Items& items = *args.tuple();
  if (items.empty() && function.module == "builtins") return "";
  if (items.size() == 1 && function.name == "bytearray" &&
      items[0].kind() == Object::Kind::kBytes) {
    return *items[0].bytes();
  }
  if (items.size() == 2 && items[0].str() != nullptr && IsLatin1(items[1])) {
    return EncodeLatin1(*items[0].str());
  }
  return NotWithThese(function, args);
}

// set([...]), frozenset([...])
absl::StatusOr<Object> SetOfCall(const ObjectRecord& function,
                                 const Object& args) {
  const Object::Items& items = *args.tuple();
  Object::Items elements;
  if (items.size() == 1 && items[0].list() != nullptr) {
    elements = *items[0].list();
  } else if (!items.empty()) {
    return NotWithThese(function, args);
  }
  return function.name == "set" ? Object::MakeSet(std::move(elements))
                                : Object::MakeFrozenSet(std::move(elements));
}

absl::StatusOr<Object> ValueOfCall(const ObjectRecord& function,
                                   const Object& args) {
  if (function.name == "set" || function.name == "frozenset") {
    return SetOfCall(function, args);
  }
  MP_ASSIGN_OR_RETURN(std::string bytes, BytesOfCall(function, args));
  return function.name == "bytearray" ? Object::ByteArray(std::move(bytes))
                                      : Object::Bytes(std::move(bytes));
}

}  // namespace

absl::StatusOr<Object> ObjectOfCall(const Object& function, Object args) {
  const ObjectRecord* const record = function.record();
  if (record == nullptr || !record->args.is_none()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a call of ", function.Repr(kMaxShownBytes), ", which is ",
                     "no class"));
  }
  if (args.tuple() == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("a call with ", args.Repr(kMaxShownBytes),
                     ", which is no tuple of arguments"));
  }
  if (FindPickleGlobal(record->module, record->name) == PickleMaking::kValue) {
    return ValueOfCall(*record, args);
  }
  return Object::FromRecord({.module = record->module,
                             .name = record->name,
                             .args = std::move(args)});
}

}  // namespace mp::internal
