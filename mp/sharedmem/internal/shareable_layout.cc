#include "mp/sharedmem/internal/shareable_layout.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/internal/utf8.h"

namespace mp::internal {
namespace {

constexpr size_t kWord = 8;  // the unit of everything
constexpr absl::string_view kInt = "q";
constexpr absl::string_view kDouble = "d";
constexpr absl::string_view kBool = "xxxxxxx?";
constexpr absl::string_view kNone = "xxxxxx?x";
constexpr size_t kTruth = 7;  // the byte of kBool that counts
// The longest that a format of 8 characters can tell of.
constexpr size_t kMaxPlace = 9999992;

enum Code : int { kScalar = 0, kStr = 1, kBytes = 2, kNothing = 3 };

// The characters of a str or bytes.
const std::string* TextOf(const ShareableItem& item) {
  if (const auto* const text = std::get_if<std::string>(&item)) return text;
  const auto* const bytes = std::get_if<ShareableBytes>(&item);
  return bytes == nullptr ? nullptr : &bytes->bytes;
}

Code CodeOf(const ShareableItem& item) {
  if (std::holds_alternative<std::monostate>(item)) return kNothing;
  if (std::holds_alternative<std::string>(item)) return kStr;
  return std::holds_alternative<ShareableBytes>(item) ? kBytes : kScalar;
}

absl::string_view FormatOfScalar(const ShareableItem& item) {
  if (std::holds_alternative<int64_t>(item)) return kInt;
  if (std::holds_alternative<double>(item)) return kDouble;
  return std::holds_alternative<bool>(item) ? kBool : kNone;
}

// One more word than CPython needs at times; it counts characters where this
// counts bytes, and cuts off what does not fit.
size_t PlaceFor(const ShareableItem& item) {
  const std::string* const text = TextOf(item);
  return text == nullptr ? kWord : kWord * (text->size() / kWord + 1);
}

absl::Status CheckText(const ShareableItem& item) {
  const auto* const text = std::get_if<std::string>(&item);
  if (text == nullptr || IsUtf8(*text)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("ShareableList: \"", absl::CHexEscape(text->substr(0, 100)),
                   "\" is not UTF-8; ShareableBytes hold any bytes"));
}

// How CPython writes it, unless the text ends in NULs, which it would drop.
// Then its length stands before the padding, where CPython overlooks it.
absl::StatusOr<std::string> FormatOfText(absl::string_view text, size_t place,
                                         absl::string_view old_format) {
  const bool is_old_good = absl::EndsWith(old_format, "s");
  if (text.empty() || text.back() != '\0') {
    return is_old_good ? std::string(old_format) : absl::StrCat(place, "s");
  }
  std::string format = absl::StrCat(text.size(), "s");
  if (text.size() < place) {
    absl::StrAppend(&format, place - text.size(), "x");
  } else {
    absl::StrAppend(&format, "0x");
  }
  if (format.size() <= kWord) return format;
  return absl::InvalidArgumentError(
      absl::StrCat("ShareableList: the NULs at the end of an item of ",
                   text.size(), " bytes would be lost"));
}

// How many bytes of its place a text has, exactly or with NULs as padding.
struct TextLength {
  size_t bytes;
  bool is_exact;
};

std::optional<TextLength> LengthOfText(absl::string_view format, size_t place) {
  const size_t end = format.find('s');
  size_t bytes = 0;
  if (end == format.npos || !absl::SimpleAtoi(format.substr(0, end), &bytes) ||
      bytes > place) {
    return std::nullopt;
  }
  const absl::string_view rest = format.substr(end + 1);
  if (rest.empty()) return TextLength{bytes, /*is_exact=*/false};
  if (rest.back() != 'x') return std::nullopt;
  return TextLength{bytes, /*is_exact=*/true};
}

// Reads a word once, though another process may be writing it.
int64_t Word(absl::string_view memory, size_t offset) {
  return __atomic_load_n(
      reinterpret_cast<const int64_t*>(memory.data() + offset),
      __ATOMIC_RELAXED);
}

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(
      absl::StrCat("ShareableList: the block is no list: ", what));
}

absl::Status NoSuchItem(int64_t index, int64_t size) {
  return absl::OutOfRangeError(absl::StrCat(
      "ShareableList: index ", index, " out of range, the size is ", size));
}

}  // namespace

absl::StatusOr<int64_t> ShareableLayout::SizeOf(
    absl::Span<const ShareableItem> items) {
  size_t size = kWord + kWord * (items.size() + 1) + (kWord + 1) * items.size();
  for (const ShareableItem& item : items) {
    MP_RETURN_IF_ERROR(CheckText(item));
    if (PlaceFor(item) > kMaxPlace) {
      return absl::InvalidArgumentError(
          absl::StrCat("ShareableList: an item has ", TextOf(item)->size(),
                       " bytes, the limit is ", kMaxPlace - 1));
    }
    size += PlaceFor(item);
  }
  return size;
}

absl::Status ShareableLayout::Write(absl::Span<const ShareableItem> items,
                                    absl::Span<char> memory) {
  const auto write_word = [&](size_t at, int64_t value) {
    std::memcpy(memory.data() + at * kWord, &value, kWord);
  };
  write_word(0, items.size());
  int64_t offset = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    offset += PlaceFor(items[i]);
    write_word(i + 2, offset);
  }
  MP_ASSIGN_OR_RETURN(
      const ShareableLayout list,
      Parse(absl::string_view(memory.data(), memory.size()), memory));
  for (size_t i = 0; i < items.size(); ++i) {
    MP_RETURN_IF_ERROR(list.Set(i, items[i]));
  }
  return absl::OkStatus();
}

absl::StatusOr<ShareableLayout> ShareableLayout::Parse(
    absl::string_view memory, absl::Span<char> writable) {
  if (memory.size() < 2 * kWord) return Damaged("it is too short");
  ShareableLayout list;
  list.memory_ = memory;
  list.writable_ = writable.data();
  list.size_ = Word(memory, 0);
  // What each item takes at least: offset, data, format and code.
  constexpr size_t kLeast = 3 * kWord + 1;
  const size_t room = memory.size() - 2 * kWord;
  if (list.size_ < 0 || static_cast<size_t>(list.size_) > room / kLeast) {
    return Damaged(absl::StrCat("it cannot hold ", list.size_, " items"));
  }
  // Memory that nobody has written begins as an empty list does.
  if (list.size_ == 0 && room != 0) {
    return Damaged(absl::StrCat("an empty one has ", 2 * kWord, " bytes, not ",
                                memory.size()));
  }
  list.data_ = kWord * (list.size_ + 2);
  const size_t fixed = (2 * kWord + 1) * list.size_;
  const int64_t data_size = Word(memory, kWord * (list.size_ + 1));
  if (data_size < 0 || data_size % kWord != 0 ||
      static_cast<size_t>(data_size) > room - fixed) {
    return Damaged(absl::StrCat("it cannot hold ", data_size, " data bytes"));
  }
  list.data_size_ = data_size;
  for (int64_t i = 0; i < list.size_; ++i) {
    MP_RETURN_IF_ERROR(list.PlaceOf(i).status());
  }
  return list;
}

absl::StatusOr<ShareableLayout::Place> ShareableLayout::PlaceOf(
    int64_t index) const {
  const int64_t begin = Word(memory_, kWord * (index + 1));
  const int64_t end = Word(memory_, kWord * (index + 2));
  if (begin < 0 || begin % kWord != 0 || end % kWord != 0 || end <= begin ||
      end > static_cast<int64_t>(data_size_)) {
    return Damaged(absl::StrCat("item ", index, " lies at ", begin, " to ", end,
                                " of ", data_size_));
  }
  return Place{index, data_ + begin, static_cast<size_t>(end - begin)};
}

absl::StatusOr<ShareableLayout::Place> ShareableLayout::Find(
    int64_t index) const {
  const int64_t position = index < 0 ? index + size_ : index;
  if (position < 0 || position >= size_) return NoSuchItem(index, size_);
  return PlaceOf(position);
}

std::string ShareableLayout::FormatAt(int64_t index) const {
  std::string format(memory_.substr(formats() + kWord * index, kWord));
  format.resize(format.find_last_not_of('\0') + 1);
  return format;
}

absl::StatusOr<std::string> ShareableLayout::Format(int64_t index) const {
  MP_ASSIGN_OR_RETURN(const Place place, Find(index));
  return FormatAt(place.index);
}

absl::StatusOr<ShareableItem> ShareableLayout::ReadText(
    const Place& place, absl::string_view format, int code) const {
  const std::optional<TextLength> length = LengthOfText(format, place.size);
  if (!length.has_value()) {
    return Damaged(absl::StrCat("item ", place.index, " has the format \"",
                                absl::CHexEscape(format), "\""));
  }
  std::string text(memory_.substr(place.offset, length->bytes));
  if (!length->is_exact) text.resize(text.find_last_not_of('\0') + 1);
  if (code == kBytes) return ShareableItem(ShareableBytes{std::move(text)});
  if (!IsUtf8(text)) {
    return Damaged(absl::StrCat("item ", place.index, " is not UTF-8"));
  }
  return ShareableItem(std::move(text));
}

absl::StatusOr<ShareableItem> ShareableLayout::At(int64_t index) const {
  MP_ASSIGN_OR_RETURN(const Place place, Find(index));
  const std::string format = FormatAt(place.index);
  const int code = memory_[codes() + place.index];
  if (code == kStr || code == kBytes) return ReadText(place, format, code);
  const int64_t word = Word(memory_, place.offset);
  if (code == kScalar && format == kInt) return ShareableItem(word);
  if (code == kScalar && format == kDouble) {
    double number;
    std::memcpy(&number, &word, sizeof(number));
    return ShareableItem(number);
  }
  if (code == kScalar && format == kBool) {
    return ShareableItem(memory_[place.offset + kTruth] != 0);
  }
  if (code == kNothing) return ShareableItem();
  return Damaged(absl::StrCat("item ", place.index, " has the code ", code,
                              " and the format \"", absl::CHexEscape(format),
                              "\""));
}

absl::Status ShareableLayout::Set(int64_t index,
                                  const ShareableItem& value) const {
  MP_ASSIGN_OR_RETURN(const Place place, Find(index));
  MP_RETURN_IF_ERROR(CheckText(value));
  const std::string* const text = TextOf(value);
  if (text != nullptr && text->size() > place.size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ShareableList: bytes/str item exceeds available storage: item ",
        place.index, " has room for ", place.size, " bytes, not for ",
        text->size()));
  }
  return WriteItem(place, value, FormatAt(place.index));
}

absl::Status ShareableLayout::WriteItem(const Place& place,
                                        const ShareableItem& value,
                                        absl::string_view old_format) const {
  const std::string* const text = TextOf(value);
  std::string format(FormatOfScalar(value));
  // A format that is in the way would cut the text short.
  const auto old_length = LengthOfText(old_format, place.size);
  if (!old_length.has_value() || old_length->bytes != place.size) {
    old_format = "";
  }
  if (text != nullptr) {
    MP_ASSIGN_OR_RETURN(format, FormatOfText(*text, place.size, old_format));
  }
  char* const data = writable_ + place.offset;
  if (text != nullptr) {
    std::memset(data, 0, place.size);
    std::memcpy(data, text->data(), text->size());
  } else {
    int64_t word = 0;
    if (const auto* const number = std::get_if<int64_t>(&value)) word = *number;
    if (const auto* const number = std::get_if<double>(&value)) {
      std::memcpy(&word, number, sizeof(word));
    }
    std::memcpy(data, &word, kWord);
    if (const auto* const truth = std::get_if<bool>(&value)) {
      data[kTruth] = *truth ? 1 : 0;
    }
  }
  format.resize(kWord);  // with NULs
  std::memcpy(writable_ + formats() + kWord * place.index, format.data(),
              kWord);
  writable_[codes() + place.index] = CodeOf(value);
  return absl::OkStatus();
}

}  // namespace mp::internal
