#include "mp/process/exit.h"

#include <cstdlib>
#include <optional>

#include "mp/process/context.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/process_exit.h"
#include "mp/process/internal/runner.h"

namespace mp {

void Exit(int code) {
  const std::optional<StartMethod> started_by =
      internal::CurrentIdentity().started_by;
  if (!started_by.has_value()) std::exit(code);
  if (*started_by == StartMethod::kThread) {
    throw internal::ExitThread{code & 0xff};
  }
  internal::ExitProcess(code);
}

}  // namespace mp
