#ifndef MP_IPC_INTERNAL_OBJECT_EQUALITY_H_
#define MP_IPC_INTERNAL_OBJECT_EQUALITY_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mp/ipc/object.h"

namespace mp::internal {

// Whether two Objects are equal, as Python sees it. Uses no more stack for
// those that are nested deeper, except within keys, whose depth is limited.
bool ObjectsAreEqual(const Object& a, const Object& b);

// A hash that equal Objects share, never 0. It differs from process to process,
// so that nobody can make up keys that collide.
uint64_t HashOfObject(const Object& object);

// Where a key is in a set, frozenset or dict.
std::optional<size_t> FindKey(const Object& container, const Object& key);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_OBJECT_EQUALITY_H_
