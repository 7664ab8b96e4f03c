#ifndef MP_SHAREDMEM_INTERNAL_BLOCK_LOCK_H_
#define MP_SHAREDMEM_INTERNAL_BLOCK_LOCK_H_

#include <sys/types.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"

// The two bytes of a named block, far behind its end, that processes lock.
namespace mp::internal {

// Whether a process lives that owns the block. One that cannot be told does.
bool BlockHasOwner(const Fd& block);

// The lock that an owner has on a block for as long as it lives: a mapping of
// one page that keeps the open file description which holds it. It goes with
// the address space, and forked children do not have it.
//
// Source: man 2 fcntl, "Open file description locks"; man 2 madvise,
//         MADV_DONTFORK.
class OwnerLock {
 public:
  // `description` is one that nobody else has, and that no forked child can
  // come to have until it is closed.
  static absl::StatusOr<OwnerLock> Take(const Fd& description);

  OwnerLock(OwnerLock&& other) noexcept;
  OwnerLock& operator=(OwnerLock&& other) noexcept;
  ~OwnerLock();

  // Forgets a lock that was the parent's, in a forked child.
  void Forget() { page_ = nullptr; }

 private:
  explicit OwnerLock(void* page) : page_(page) {}

  void* page_;
};

// Held by whoever takes a name away or becomes an owner, so that the name
// cannot be another file's between a look and the removal.
class NameLock {
 public:
  // Waits up to `tries` milliseconds: its holder may be stopped.
  //
  // Errors:
  //   kUnavailable  somebody else has it.
  static absl::StatusOr<NameLock> Take(const Fd& description, int tries);

  NameLock(NameLock&& other) noexcept;
  NameLock& operator=(NameLock&&) = delete;
  ~NameLock();

 private:
  explicit NameLock(int fd) : fd_(fd) {}

  int fd_;
};

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_BLOCK_LOCK_H_
