#include "mp/pool/current_task.h"

#include <atomic>
#include <cstdint>

namespace mp {
namespace {

thread_local constinit const std::atomic<uint64_t>* interrupted_task = nullptr;
thread_local constinit uint64_t current_task = 0;

}  // namespace

bool TaskIsInterrupted() {
  return interrupted_task != nullptr && *interrupted_task == current_task;
}

namespace internal {

CurrentTaskScope::CurrentTaskScope(const std::atomic<uint64_t>& interrupted,
                                   uint64_t task) {
  interrupted_task = &interrupted;
  current_task = task;
}

CurrentTaskScope::~CurrentTaskScope() { interrupted_task = nullptr; }

}  // namespace internal
}  // namespace mp
