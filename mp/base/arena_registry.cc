#include "mp/base/arena_registry.h"

#include <pthread.h>

#include <cstdlib>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_map.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"

namespace mp::internal {

ArenaRegistry& ArenaRegistry::Get() {
  static ArenaRegistry& registry = *new ArenaRegistry;  // outlives all users
  return registry;
}

void ArenaRegistry::HoldOverForks() {
  Get();
  // A child becomes a member while it gets to hold its slots.
  Members::HoldOverForks();
  static const int done = pthread_atfork([] { Get().BeforeFork(); },
                                         [] { Get().AfterForkInParent(); },
                                         [] { Get().AfterForkInChild(); });
  static_cast<void>(done);
}

namespace {

// Before main(), so that no forked child finds it half done. The exit handler
// runs after those that are set later.
[[maybe_unused]] const bool made_early =
    (ArenaRegistry::HoldOverForks(),
     std::atexit([] { ArenaRegistry::Get().LeaveAll(); }), true);

}  // namespace

absl::StatusOr<std::shared_ptr<ArenaMap>> ArenaRegistry::Add(ArenaFile file) {
  MP_ASSIGN_OR_RETURN(std::shared_ptr<ArenaMap> map,
                      ArenaMap::Make(std::move(file)));
  map->next_ = first_;
  if (first_ != nullptr) first_->previous_ = map.get();
  first_ = map.get();
  return map;
}

void ArenaRegistry::Remove(ArenaMap& map) {
  ForkSafeLock lock(mutex_);
  (map.previous_ == nullptr ? first_ : map.previous_->next_) = map.next_;
  if (map.next_ != nullptr) map.next_->previous_ = map.previous_;
}

std::shared_ptr<ArenaMap> ArenaRegistry::Find(int fd) {
  for (ArenaMap* map = first_; map != nullptr; map = map->next_) {
    if (!map->file().IsOn(fd)) continue;
    // None if the map is about to be removed.
    std::shared_ptr<ArenaMap> found = map->self_.lock();
    if (found != nullptr) return found;
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<ArenaMap>> ArenaRegistry::Create() {
  MP_ASSIGN_OR_RETURN(ArenaFile file, ArenaFile::Create());
  ForkSafeLock lock(mutex_);
  return Add(std::move(file));
}

absl::StatusOr<std::shared_ptr<ArenaMap>> ArenaRegistry::Default() {
  ForkSafeLock lock(default_mutex_);
  if (default_ == nullptr || !default_->IsFitForMore()) {
    // The one before goes with its last slot.
    MP_ASSIGN_OR_RETURN(default_, Create());
  }
  return default_;
}

absl::StatusOr<std::shared_ptr<ArenaMap>> ArenaRegistry::Attach(Fd fd) {
  ForkSafeLock lock(mutex_);
  std::shared_ptr<ArenaMap> map = Find(fd.get());
  if (map != nullptr) return map;
  MP_ASSIGN_OR_RETURN(ArenaFile file, ArenaFile::Open(std::move(fd)));
  return Add(std::move(file));
}

absl::StatusOr<std::shared_ptr<ArenaMap>> ArenaRegistry::AttachTransit(
    const Fd& transit) {
  ForkSafeLock lock(mutex_);
  std::shared_ptr<ArenaMap> map = Find(transit.get());
  if (map != nullptr) return map;
  MP_RETURN_IF_ERROR(ArenaFile::CheckFile(transit.get()).status());
  MP_ASSIGN_OR_RETURN(Fd own, ReopenMemory(transit.get()));
  MP_ASSIGN_OR_RETURN(ArenaFile file, ArenaFile::Open(std::move(own)));
  return Add(std::move(file));
}

void ArenaRegistry::LeaveAll() {
  ForkSafeLock lock(mutex_);
  for (ArenaMap* map = first_; map != nullptr; map = map->next_) {
    map->members().Leave();
  }
}

// ---- Forks

void ArenaRegistry::BeforeFork() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  default_mutex_.Lock();
  mutex_.Lock();
  for (ArenaMap* map = first_; map != nullptr; map = map->next_) {
    map->BeforeFork();
  }
}

void ArenaRegistry::AfterForkInParent() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (ArenaMap* map = first_; map != nullptr; map = map->next_) {
    map->AfterForkInParent();
  }
  mutex_.Unlock();
  default_mutex_.Unlock();
}

void ArenaRegistry::AfterForkInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (ArenaMap* map = first_; map != nullptr; map = map->next_) {
    map->AfterForkInChild();
  }
  const std::shared_ptr<ArenaMap> of_parent = std::exchange(default_, nullptr);
  mutex_.Unlock();
  default_mutex_.Unlock();
}

}  // namespace mp::internal
