#ifndef MP_PROCESS_INTERNAL_START_H_
#define MP_PROCESS_INTERNAL_START_H_

#include <memory>

#include "absl/status/statusor.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/resolve_surroundings.h"

// One function, and one file, for each start method.
namespace mp::internal {

// What is to be started.
struct StartRequest {
  Identity identity;
  ParentLink parent;
  ResolvedSurroundings surroundings;
  // For a thread: run the call itself, not a copy that has been sent.
  bool share_arguments;
  // Taken, if at all, only by a start that succeeds.
  std::unique_ptr<Call>& call;
  // Where a process writes down its own end; nothing for a thread.
  CrashSlotTicket crash_slot = {};
};

using StartResult = absl::StatusOr<std::shared_ptr<Child>>;

StartResult StartSpawn(StartRequest request);
StartResult StartFork(StartRequest request);
StartResult StartForkServer(StartRequest request);
StartResult StartThread(StartRequest request);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_START_H_
