#ifndef MP_IPC_INTERNAL_TRANSPORT_H_
#define MP_IPC_INTERNAL_TRANSPORT_H_

#include "mp/base/frame_stream.h"

namespace mp::internal {

// What carries a Connection's bytes, where it is more than a descriptor.
//
// Example:
//   class TlsTransport : public Transport { ... };
//   return Connection::FromTransport(std::move(tls));
//
// Besides WriteAll(), ReadSome() and name(); see FrameStream.
//
// Owns:    a descriptor.
// Threads: one writes while another reads; HasBuffered() from any.
// Fork:    it is of use in the process that made it only, which its Connection
//          sees to. The destructor runs in a forked child too: there it closes
//          the descriptor and sends nothing.
class Transport : public FrameStream {
 public:
  // Polls as readable while there are bytes to read, unless HasBuffered().
  virtual int fd() const = 0;

  // Whether there are bytes to read that lie here already, so that poll() on
  // fd() does not tell.
  virtual bool HasBuffered() const = 0;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TRANSPORT_H_
