#ifndef MP_PROCESS_INTERNAL_BOOT_H_
#define MP_PROCESS_INTERNAL_BOOT_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/resolve_surroundings.h"
#include "mp/process/parcel.h"

// What a new process is told, over a Unix socket whose other end it inherits.
namespace mp::internal {

// Everything that a process needs to begin.
struct BootMessage {
  Identity identity;
  ParentLink parent;
  // Those that it does not have already.
  ResolvedSurroundings surroundings;
  CrashSlotTicket crash_slot;
};

// Encodes the message and the call that is to be made. Fails for what cannot
// travel, before anything is started.
absl::StatusOr<Parcel> EncodeBoot(const BootMessage& message, const Call& call);

// Makes what travels of a message: what is long goes by memfd.
absl::StatusOr<Parcel> PackBoot(Parcel parcel);

// Sends it. Never waits for the child: what is long goes by memfd.
absl::Status SendBoot(int socket, Parcel parcel);

// The program's arguments, and what to call in a child before its function.
struct ChildSetup {
  int argc = 0;
  char** argv = nullptr;
  std::function<void(int, char**)> run;
};

// The body of a new process: receives the message, becomes what it says, runs
// the call and returns the exit code.
int RunBootedChild(Fd socket, const ChildSetup& setup);

// The same, with what PackBoot() has made, for a child of the fork server: it
// waits until its starter lets it begin; see CrashSlotLease::LetBegin().
int RunPackedChild(Parcel packed, const ChildSetup& setup);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_BOOT_H_
