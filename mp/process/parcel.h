#ifndef MP_PROCESS_PARCEL_H_
#define MP_PROCESS_PARCEL_H_

#include <string>
#include <vector>

#include "mp/base/fd.h"

namespace mp {

// A value on its way to another process: bytes, and the descriptors that the
// bytes refer to by their place in the list. An Encoder makes it, a Decoder
// reads it; over a Unix socket both travel in one message.
struct Parcel {
  std::string bytes;
  std::vector<Fd> handles;
};

}  // namespace mp

#endif  // MP_PROCESS_PARCEL_H_
