#ifndef MP_PROCESS_FORK_SERVER_PRELOAD_H_
#define MP_PROCESS_FORK_SERVER_PRELOAD_H_

#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/fork_server.h"

namespace mp {

// What to do when the preloading function throws, or returns a status that is
// not OK:
//   kIgnore  serve all the same.
//   kWarn    say it on stderr, and serve all the same.
//   kFail    each Process::Start() by the fork server is kFailedPrecondition.
using PreloadErrors = internal::PreloadErrors;

// Has the fork server run a function once, before it serves: what that leaves
// in memory, every process that the server makes begins with, at no cost.
//
// Example:
//   void LoadModel() { model = new Model("model.bin"); }
//   ...
//   MP_CHECK_OK(mp::SetForkServerPreload(LoadModel));
//
// The function and its arguments travel as those of a Process. It must not
// leave threads behind, as the server refuses to fork with more than one. The
// first Start() waits for it, however long it takes. A server that takes the
// place of a dead one runs it again.
//
// Errors:
//   kFailedPrecondition  the fork server runs already.
// Source: CPython multiprocessing.set_forkserver_preload().
template <typename F, typename... Args>
absl::Status SetForkServerPreload(PreloadErrors on_error, F&& function,
                                  Args&&... args) {
  return internal::ForkServer::Get().SetPreload(
      internal::MakeTravellingCall(std::forward<F>(function),
                                   std::forward<Args>(args)...),
      on_error);
}

// The same with kWarn.
template <typename F, typename... Args>
requires(!std::is_same_v<std::decay_t<F>, PreloadErrors>) absl::Status
    SetForkServerPreload(F&& function, Args&&... args) {
  return SetForkServerPreload(PreloadErrors::kWarn, std::forward<F>(function),
                              std::forward<Args>(args)...);
}

}  // namespace mp

#endif  // MP_PROCESS_FORK_SERVER_PRELOAD_H_
