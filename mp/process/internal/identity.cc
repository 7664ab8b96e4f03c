#include "mp/process/internal/identity.h"

#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mp::internal {
namespace {

std::atomic<int> child_count{0};

Identity& ProcessIdentity() {
  static Identity& identity = *new Identity;  // outlives exit handlers
  return identity;
}

thread_local const Identity* thread_identity = nullptr;

}  // namespace

const Identity& CurrentIdentity() {
  return thread_identity != nullptr ? *thread_identity : ProcessIdentity();
}

void BecomeProcess(Identity identity) {
  thread_identity = nullptr;
  ProcessIdentity() = std::move(identity);
  child_count = 0;
}

void BecomeThread(const Identity* identity) { thread_identity = identity; }

std::string NextChildPath() {
  const std::string& parent = CurrentIdentity().path;
  return absl::StrCat(parent, parent.empty() ? "" : ":", ++child_count);
}

}  // namespace mp::internal
