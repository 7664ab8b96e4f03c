#include "mp/process/internal/identity.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/auth_key.h"
#include "mp/process/context.h"
#include "mp/process/internal/hold_across_forks.h"

namespace mp::internal {
namespace {

// Guards all identities; that of a thread may be asked for by its starter.
ForkSafeMutex& Mutex() {
  static ForkSafeMutex& mutex = *new ForkSafeMutex;  // outlives exit handlers
  static const bool held = (HoldAcrossForks(mutex), true);
  static_cast<void>(held);
  return mutex;
}

thread_local Identity* thread_identity = nullptr;

Identity& Current() {
  static Identity& process_identity = *new Identity;  // likewise
  return thread_identity != nullptr ? *thread_identity : process_identity;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] const bool made_early = (Mutex(), Current(), true);

}  // namespace

Identity CurrentIdentity() {
  ForkSafeLock lock(Mutex());
  Identity& current = Current();
  if (!current.authkey.has_value()) current.authkey = AuthKey::Random();
  return current;
}

std::string CurrentProcessName() {
  ForkSafeLock lock(Mutex());
  return Current().name;
}

bool CurrentProcessIsDaemon() {
  ForkSafeLock lock(Mutex());
  return Current().daemon;
}

void SetCurrentName(std::string name) {
  ForkSafeLock lock(Mutex());
  Current().name = std::move(name);
}

void SetCurrentAuthKey(AuthKey key) {
  ForkSafeLock lock(Mutex());
  Current().authkey = std::move(key);
}

void BecomeProcess(Identity identity) {
  ForkSafeLock lock(Mutex());
  thread_identity = nullptr;
  if (identity.started_by.has_value()) {
    SetProcessStartMethod(*identity.started_by);
  }
  Current() = std::move(identity);
}

void BecomeThread(Identity* identity) {
  thread_identity = identity;
  SetThreadStartMethod(StartMethod::kThread);
}

std::string NextChildPath() {
  ForkSafeLock lock(Mutex());
  Identity& current = Current();
  return absl::StrCat(current.path, current.path.empty() ? "" : ":",
                      ++current.children);
}

}  // namespace mp::internal
