#ifndef MP_PROCESS_INTERNAL_SELF_CHILD_H_
#define MP_PROCESS_INTERNAL_SELF_CHILD_H_

#include <memory>

#include "mp/process/internal/child.h"

namespace mp::internal {

// Returns the calling process, seen by itself: it runs, and cannot wait for its
// own end.
std::shared_ptr<Child> MakeSelfChild();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_SELF_CHILD_H_
