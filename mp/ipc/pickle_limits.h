#ifndef MP_IPC_PICKLE_LIMITS_H_
#define MP_IPC_PICKLE_LIMITS_H_

#include <cstdint>

namespace mp {

// What a pickle may hold. The sizes are those of the Object if what is shared
// is counted each time, so that a small pickle cannot make a lot of work.
struct PickleLimits {
  // Bytes of the pickle.
  uint64_t max_bytes = uint64_t{1} << 30;

  // Values. Each takes 16 bytes, and about 100 more if it is a container.
  uint64_t max_objects = uint64_t{1} << 24;

  // Bytes in all str, bytes and bytearrays together.
  uint64_t max_text_bytes = uint64_t{1} << 30;

  // Containers in each other. (CPython itself comes to about 500 to write.)
  uint32_t max_depth = 10'000;
};

}  // namespace mp

#endif  // MP_IPC_PICKLE_LIMITS_H_
