#ifndef MP_IPC_INTERNAL_OBJECT_REPR_H_
#define MP_IPC_INTERNAL_OBJECT_REPR_H_

#include <cstddef>
#include <string>

#include "mp/ipc/object.h"

namespace mp::internal {

// See Object::Repr(). Uses no more stack for what is nested deeper.
std::string ReprOfObject(const Object& object, size_t max_bytes);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_OBJECT_REPR_H_
