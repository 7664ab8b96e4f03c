#include "mp/ipc/internal/tls_owner.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <new>

namespace mp::internal {
namespace {

// Returns a word that a forked child finds to be 0; nullptr if the system has
// none.
std::atomic<uint64_t>* WipedWord() {
  static std::atomic<uint64_t>* const word = []() -> std::atomic<uint64_t>* {
    const long page_bytes = sysconf(_SC_PAGESIZE);
    void* const page = mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return nullptr;
    if (madvise(page, page_bytes, MADV_WIPEONFORK) != 0) {
      munmap(page, page_bytes);
      return nullptr;
    }
    return new (page) std::atomic<uint64_t>(0);
  }();
  return word;
}

// How many processes there have been, each the child of the one before.
std::atomic<uint64_t> last_generation{0};

// Returns the number of this process, which it gets at the first call; without
// such a word, its pid.
uint64_t ThisGeneration() {
  std::atomic<uint64_t>* const word = WipedWord();
  if (word == nullptr) return static_cast<uint64_t>(getpid());
  uint64_t generation = word->load(std::memory_order_relaxed);
  if (generation != 0) return generation;
  const uint64_t mine =
      last_generation.fetch_add(1, std::memory_order_relaxed) + 1;
  // Another thread may have been faster.
  return word->compare_exchange_strong(generation, mine) ? mine : generation;
}

}  // namespace

TlsOwner::TlsOwner() : generation_(ThisGeneration()) {}

bool TlsOwner::IsThisProcess() const { return ThisGeneration() == generation_; }

}  // namespace mp::internal
