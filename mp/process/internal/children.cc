#include "mp/process/internal/children.h"

#include <signal.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "mp/base/bury.h"
#include "mp/base/deadline.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/context.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/live_children.h"

namespace mp::internal {
namespace {

// How long a daemon may take to end after SIGTERM.
constexpr absl::Duration kDaemonGrace = absl::Seconds(5);

// A child that signal handlers can see.
struct ListedChild {
  explicit ListedChild(std::shared_ptr<Child> listed, bool daemon)
      : child(std::move(listed)),
        listing(child->pid(), child->sentinel(), daemon) {}

  const std::shared_ptr<Child> child;
  const LiveChild listing;  // goes first
};

// Returns the same child, listed for as long as somebody holds what is
// returned.
std::shared_ptr<Child> List(std::shared_ptr<Child> child, bool daemon) {
  const auto listed = std::make_shared<ListedChild>(std::move(child), daemon);
  return std::shared_ptr<Child>(listed, listed->child.get());
}

}  // namespace

Children& Children::Get() {
  static Children& children = *new Children;  // outlives exit handlers
  return children;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] static const bool made_early = (Children::Get(), true);

void Children::Add(Entry entry) {
  if (entry.started_by != StartMethod::kThread) {
    entry.child = List(std::move(entry.child), entry.daemon);
  }
  ForkSafeLock lock(mutex_);
  entries_.push_back(std::move(entry));
}

void Children::Remove(const Child& child) {
  ForkSafeLock lock(mutex_);
  const auto is_it = [&](const Entry& entry) {
    return entry.child.get() == &child;
  };
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(), is_it),
                 entries_.end());
}

void Children::ReapEnded() {
  ForkSafeLock lock(mutex_);
  const auto ended = [](const Entry& entry) {
    return entry.child->Wait(Deadline(absl::ZeroDuration())).ok();
  };
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(), ended),
                 entries_.end());
}

std::vector<Children::Entry> Children::Active() {
  ReapEnded();
  ForkSafeLock lock(mutex_);
  return entries_;
}

void Children::FinishAll() {
  std::vector<Entry> entries;
  {
    ForkSafeLock lock(mutex_);
    entries.swap(entries_);
  }
  if (entries.empty()) return;  // as in most processes
  const auto cannot_end = [](const Entry& entry) {
    return entry.daemon && !entry.child->Signal(SIGTERM).ok();
  };
  // A daemon that is a thread, or has changed its uid, is not waited for.
  entries.erase(std::remove_if(entries.begin(), entries.end(), cannot_end),
                entries.end());
  // One that will not end by itself must not hold up this process's end.
  const Deadline grace(kDaemonGrace);
  for (const Entry& entry : entries) {
    if (entry.daemon && !entry.child->Wait(grace).ok()) {
      entry.child->Signal(SIGKILL).IgnoreError();
    }
  }
  for (const Entry& entry : entries) {
    entry.child->Wait(Deadline(absl::InfiniteDuration())).IgnoreError();
  }
}

void Children::Forget() {
  // A thread that is not in this process may have been in the middle of using
  // them, so they are not even destroyed.
  ForgetLiveChildren();
  mutex_.Reset();
  Bury(entries_);
}

}  // namespace mp::internal
