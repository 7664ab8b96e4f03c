#ifndef MP_PROCESS_INTERNAL_IDENTITY_H_
#define MP_PROCESS_INTERNAL_IDENTITY_H_

#include <optional>
#include <string>

#include "mp/process/context.h"

namespace mp::internal {

// What a process knows of itself.
struct Identity {
  std::string name = "MainProcess";
  // Its place in the tree of processes: "" for the first, "2:1" for the first
  // child of its second.
  std::string path;
  bool daemon = false;
  // How it was started; nothing for the first process.
  std::optional<StartMethod> started_by;
};

// Returns that of the calling process, or thread in the place of one.
const Identity& CurrentIdentity();

// Makes this process, or this thread only, another one. Starts its numbering
// of children anew.
void BecomeProcess(Identity identity);
void BecomeThread(const Identity* identity);

// Returns the path of the next child of this process.
std::string NextChildPath();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_IDENTITY_H_
