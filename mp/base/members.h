#ifndef MP_BASE_MEMBERS_H_
#define MP_BASE_MEMBERS_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/base/futex.h"
#include "mp/base/open_file.h"

namespace mp {

// One process among those that share a piece of memory: 17 bits of generation
// over 12 bits of index. Not used again for another process before 131,070
// others have had the same index; the indices that are free take turns, so that
// is after half a billion processes if few of them live at a time.
using MemberId = uint32_t;

inline constexpr MemberId kNobody = 0;
inline constexpr int kMemberIdBits = 29;
inline constexpr MemberId kMemberIdMask = (MemberId{1} << kMemberIdBits) - 1;

enum class Life {
  kAlive,
  kLeft,  // ended in order, and said so: Members::Leave()
  kDead,
};

// The table that the processes share. All zero is an empty one.
//
// Shape: kMaxMembers entries of 16 bytes; it takes up memory as it is used.
struct MembersTable {
  static constexpr int kIndexBits = 12;
  static constexpr int kMaxMembers = 1 << kIndexBits;

  struct Entry {
    // The generation, above the pid as that process sees it: so nobody finds
    // one of the two with another's.
    std::atomic<uint64_t> generation_and_pid;
    std::atomic<uint32_t> left_generation;  // the last one that Leave() ended
    uint32_t unused;
  };

  std::atomic<uint32_t> next;  // where to look first for an entry to claim
  uint32_t unused[15];
  Entry entries[kMaxMembers];
};

// Which processes share a file in memory, and which of them live.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto members, Members::Attach(memfd.get(), *table));
//   MP_ASSIGN_OR_RETURN(const MemberId self, members->Self());
//   word.store(self);                      // what another process finds, and
//   if (members->LifeOf(word.load()) != Life::kAlive) Repair();
//
// Whether one lives is the kernel's word, not a guess from a pid: each holds a
// lock on a byte of the file, through an open file description that only a
// mapping of its own keeps. The lock goes with the address space: when the
// process ends, is killed or runs another program; not when one of its threads
// ends, when it closes descriptors that it does not know, or when a child of
// its lives on. A stopped process is alive, one that nobody has waited for yet
// is dead, and pid namespaces do not matter.
//
// Shape:   up to 4096 processes at a time.
// Owns:    one page, and one mapping; no descriptor.
// Threads: safe from any; all threads of a process are one member.
// Fork:    a child is nobody until it calls Self(), and then another member.
// Death:   killed anywhere in Self(), it has left nothing that is not used
//          again.
// Source:  man 2 fcntl, "Open file description locks"; man 2 madvise,
//          MADV_WIPEONFORK and MADV_DONTFORK.
class Members {
 public:
  // `fd` is the file, open for writing, and `table` lies in a mapping of it;
  // both outlive the object. Does not make this process a member yet.
  //
  // Errors:
  //   kResourceExhausted  no memory.
  static absl::StatusOr<std::unique_ptr<Members>> Attach(int fd,
                                                         MembersTable& table);

  // Has each fork from now on leave the child in order. What calls
  // pthread_atfork() itself, and uses members in the child, calls this before.
  static void HoldOverForks();

  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  // Ends this process's membership, as Leave() does.
  ~Members();

  // Who this process is; kNobody as long as it has not called Self().
  MemberId self() const { return own_->id.load(std::memory_order_relaxed); }

  // Who this process is. The first call makes it a member.
  //
  // Errors:
  //   kResourceExhausted   4096 processes share the file, or there are no
  //                        descriptors or no memory left.
  //   kFailedPrecondition  there is no /proc, or `fd` has been closed.
  absl::StatusOr<MemberId> Self() {
    const MemberId id = self();
    if (id != kNobody) return id;
    return Register(nullptr);
  }

  // The same where there may be no descriptor left: if so, by `description`,
  // which is open on the file, and on which no other process has locks.
  absl::StatusOr<MemberId> SelfBy(const Fd& description) {
    const MemberId id = self();
    if (id != kNobody) return id;
    return Register(&description);
  }

  // Whether a process lives. One of which that cannot be told is alive.
  Life LifeOf(MemberId id) const;
  bool IsGone(MemberId id) const { return LifeOf(id) != Life::kAlive; }

  // The pid of a member, in its own pid namespace. 0 if it is too long ago.
  pid_t PidOf(MemberId id) const;

  // Has LifeOf() answer kLeft for this process once it has ended, which is no
  // reason to repair anything. For the last moments of one that ends in order.
  void Leave();

 private:
  // In a page that the kernel clears in a forked child.
  struct Own {
    std::atomic<MemberId> id;
    FutexWord registering;  // 1 while a thread is about it
    void* life;             // the mapping that keeps the lock
  };

  Members(int fd, MembersTable& table, Own* own)
      : fd_(fd), file_(fd), table_(table), own_(own) {}

  absl::StatusOr<MemberId> Register(const Fd* spare);
  absl::StatusOr<MemberId> Claim(const Fd* spare);
  absl::StatusOr<MemberId> ClaimBy(const Fd& description);

  const int fd_;
  const OpenFile file_;
  MembersTable& table_;
  Own* const own_;
};

}  // namespace mp

#endif  // MP_BASE_MEMBERS_H_
