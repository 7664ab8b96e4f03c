#include "mp/process/init.h"

#include <sys/prctl.h>

#include <optional>
#include <utility>

#include "absl/strings/string_view.h"
#include "mp/process/internal/boot.h"
#include "mp/process/internal/end_by_signal.h"
#include "mp/process/internal/fork_server_main.h"
#include "mp/process/internal/image.h"
#include "mp/process/internal/process_exit.h"
#include "mp/process/internal/runner.h"
#include "mp/process/internal/self_image.h"

namespace mp {
namespace {

// A program that is executed by descriptor is called after its number.
void RestoreProcessName(int argc, char** argv) {
  if (argc == 0) return;
  absl::string_view name = argv[0];
  name.remove_prefix(name.rfind('/') + 1);  // npos + 1 is 0
  prctl(PR_SET_NAME, name.data());
}

}  // namespace

void Init(int argc, char** argv, const InitOptions& options) {
  if (internal::SelfIsKnown()) return;
  if (!options.handle_signals) internal::LeaveSignalsAlone();
  internal::FillStdio();
  internal::RememberSelf(argc, argv);
  internal::RememberStartupImages();
  std::optional<internal::TakenRole> role = internal::TakeRole();
  if (!role.has_value()) return;
  RestoreProcessName(argc, argv);
  const internal::ChildSetup setup = {argc, argv, options.child_setup};
  if (role->role == internal::Role::kForkServer) {
    internal::RunForkServer(std::move(role->socket), setup);
  }
  internal::ExitProcess(
      internal::RunBootedChild(std::move(role->socket), setup));
}

}  // namespace mp
