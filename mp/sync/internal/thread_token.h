#ifndef MP_SYNC_INTERNAL_THREAD_TOKEN_H_
#define MP_SYNC_INTERNAL_THREAD_TOKEN_H_

#include <atomic>
#include <cstdint>

namespace mp::internal {

// Which thread of this process this is: not 0, and never used again for another
// one, as a pthread_t or a thread id may be. A forked child's first thread has
// that of the thread that forked.
inline uint64_t ThreadToken() {
  static constinit std::atomic<uint64_t> last = 0;
  thread_local constinit uint64_t token = 0;
  if (token == 0) token = last.fetch_add(1, std::memory_order_relaxed) + 1;
  return token;
}

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_THREAD_TOKEN_H_
