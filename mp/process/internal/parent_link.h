#ifndef MP_PROCESS_INTERNAL_PARENT_LINK_H_
#define MP_PROCESS_INTERNAL_PARENT_LINK_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"

namespace mp::internal {

// What a process holds of the one that started it.
struct ParentLink {
  std::string name;
  pid_t pid = 0;
  // The parent's own pidfd: it polls as readable once the parent has ended.
  Fd pidfd;
  // For a daemon: a pipe whose other end only the parent holds.
  Fd life_line;
};

// Makes one to this process, for a child.
//
// Errors:
//   kResourceExhausted  no descriptor left.
absl::StatusOr<ParentLink> LinkToThisProcess(bool with_life_line);

void WriteParentLink(const ParentLink& link, Encoder& encoder);
absl::StatusOr<ParentLink> ReadParentLink(Decoder& decoder);

// In a child, while it has one thread: takes the link. With a life-line, this
// process is killed when the parent ends, however that happens; see
// life_line.h. One that cannot be tied to it says so on stderr and ends.
void AttachToParent(ParentLink link);

// In a forked child: the life-line of its own children is yet to be made.
void ForgetLifeLine();

// Returns the link, or nullptr in the first process.
const ParentLink* CurrentParent();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_PARENT_LINK_H_
