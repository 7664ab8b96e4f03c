#ifndef MP_IPC_INTERNAL_TLS_OWNER_H_
#define MP_IPC_INTERNAL_TLS_OWNER_H_

#include <cstdint>

namespace mp::internal {

// The process that something belongs to which must have one user only, such as
// the state of a cipher: if a forked child went on with it, both would encrypt
// with the same numbers, which gives the key away.
//
// Source: man 2 madvise, MADV_WIPEONFORK: also true of a child that has the pid
//         of its parent, in a namespace of its own. RFC 8446, section 5.3.
class TlsOwner {
 public:
  // This process.
  TlsOwner();

  // Whether this still is that process. No system call, usually.
  bool IsThisProcess() const;

 private:
  uint64_t generation_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TLS_OWNER_H_
