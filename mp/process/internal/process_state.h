#ifndef MP_PROCESS_INTERNAL_PROCESS_STATE_H_
#define MP_PROCESS_INTERNAL_PROCESS_STATE_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "mp/process/auth_key.h"
#include "mp/process/context.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/child.h"
#include "mp/process/surroundings.h"

namespace mp::internal {

// What a Process holds.
struct ProcessState {
  pid_t owner;  // the process that made it
  std::string name;
  // Its place in the tree of processes, such as "2:1".
  std::string path;
  bool daemon;
  AuthKey authkey;
  bool share_arguments;
  Context context;
  Surroundings surroundings;
  std::unique_ptr<Call> call;    // until it is started
  std::shared_ptr<Child> child;  // once it is started
  StartMethod started_by;        // likewise
  bool closed = false;
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_PROCESS_STATE_H_
