#include "mp/pool/current_task.h"

#include <atomic>
#include <cstdint>

namespace mp {
namespace {

thread_local constinit const std::atomic<uint64_t>* interrupted_task = nullptr;
thread_local constinit uint64_t current_part = 0;
thread_local constinit uint64_t current_whole = 0;

}  // namespace

bool TaskIsInterrupted() {
  if (interrupted_task == nullptr) return false;
  const uint64_t interrupted = *interrupted_task;
  return interrupted == current_part || interrupted == current_whole;
}

namespace internal {

CurrentTaskScope::CurrentTaskScope(const std::atomic<uint64_t>& interrupted,
                                   uint64_t part, uint64_t whole) {
  interrupted_task = &interrupted;
  current_part = part;
  current_whole = whole;
}

CurrentTaskScope::~CurrentTaskScope() { interrupted_task = nullptr; }

}  // namespace internal
}  // namespace mp
