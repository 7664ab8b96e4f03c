#ifndef MP_SHAREDMEM_SHAREABLE_ITEM_H_
#define MP_SHAREDMEM_SHAREABLE_ITEM_H_

#include <cstdint>
#include <string>
#include <variant>

namespace mp {

// Python's bytes, as a std::string is its str.
struct ShareableBytes {
  std::string bytes;

  friend bool operator==(const ShareableBytes&,
                         const ShareableBytes&) = default;
};

// What a ShareableList can hold: None, int, float, bool, str (in UTF-8) and
// bytes.
//
// Example:
//   std::vector<mp::ShareableItem> items = {1, 2.5, true, "abc", {}};
using ShareableItem = std::variant<std::monostate, int64_t, double, bool,
                                   std::string, ShareableBytes>;

// Whether two items are equal as Python sees it: numbers and truth values by
// their value, so that 1, 1.0 and true are equal; str and bytes never.
bool PythonEqual(const ShareableItem& a, const ShareableItem& b);

}  // namespace mp

#endif  // MP_SHAREDMEM_SHAREABLE_ITEM_H_
