#ifndef MP_PROCESS_INTERNAL_FORK_PROTOCOL_H_
#define MP_PROCESS_INTERNAL_FORK_PROTOCOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mp/process/fields.h"
#include "mp/process/serializer.h"

// What a process and its fork server say to each other, in frames on a Unix
// socket. Both are the same program, so the types are simply encoded.
//
//   client: ForkHello                    once, first
//   server: ForkWelcome
//   then any number of times:
//   client: ForkRequest
//   server: ForkReply
namespace mp::internal {

// Who the parent of the children is.
enum class ForkServerMode : uint8_t {
  // The client: they are made with CLONE_PARENT.
  kClientsChildren,
  // The server, where the kernel or the C library does not allow the other. It
  // reaps them and writes each exit code to a pipe; a child that ends by itself
  // has done so before.
  kServersChildren,
};

// A page that both have mapped. The kernel itself writes the pid of a new child
// here as it creates it, so the client learns of it even if the server dies
// before the next instruction.
struct ForkLedger {
  std::atomic<int32_t> child;
};
static_assert(sizeof(ForkLedger) == 4);
inline constexpr size_t kForkLedgerBytes = 4096;

// Its descriptors are the ledger's memfd and then those of the call.
struct ForkHello {
  // The call to make before anything else, or nothing.
  std::string preload;
  MP_FIELDS(preload)
};

struct ForkWelcome {
  ForkServerMode mode = ForkServerMode::kClientsChildren;
  // What came of the call.
  absl::Status preloaded;
  MP_FIELDS(mode, preloaded)
};

// Its descriptors are, in this order: for kServersChildren the exit pipe; those
// that are marked here; and those of the boot message.
struct ForkRequest {
  // "NAME=VALUE" as the client has them now, if it has others than at the last
  // request; the server takes them for itself and so for its children.
  std::optional<std::vector<std::string>> environment;
  bool has_cwd = false;
  bool has_stdout = false;
  bool has_stderr = false;
  // What the child boots from, as PackBoot() makes it.
  std::string boot;
  MP_FIELDS(environment, has_cwd, has_stdout, has_stderr, boot)
};

// Its descriptor is the child's pidfd, unless there was an error.
struct ForkReply {
  int32_t pid = 0;
  absl::Status error;
  MP_FIELDS(pid, error)
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_FORK_PROTOCOL_H_
