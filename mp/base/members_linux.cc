#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"

namespace mp {
namespace {

// Where the bytes lie that members lock: far behind any file's end. A lock
// does not need a byte to be there.
constexpr off_t kLifeBase = off_t{1} << 40;
constexpr size_t kLifeBytes = 4096;  // a page of the file, never touched
constexpr uint32_t kGenerationMask = kMemberIdMask >> MembersTable::kIndexBits;

uint32_t IndexOf(MemberId id) { return id % MembersTable::kMaxMembers; }
uint32_t GenerationOf(MemberId id) { return id >> MembersTable::kIndexBits; }

uint32_t GenerationOf(const MembersTable::Entry& entry) {
  return static_cast<uint32_t>(entry.generation_and_pid.load() >> 32);
}

struct flock ByteOf(uint32_t index, short type) {
  struct flock byte = {};
  byte.l_type = type;
  byte.l_whence = SEEK_SET;
  byte.l_start = kLifeBase + index;
  byte.l_len = 1;
  return byte;
}

// Held by whoever has a description open for a moment, and over forks: a child
// that had it too would keep its parent alive in the others' eyes.
ForkSafeMutex description_open;

// Before main(), so that no forked child finds it half done.
[[maybe_unused]] const bool made_early = (Members::HoldOverForks(), true);

absl::Status Closed() {
  return absl::FailedPreconditionError(
      "Members: the descriptor of the shared memory has been closed, by a "
      "program that closes what it does not know");
}

// An open file description of `fd`'s file that is nobody else's.
absl::StatusOr<Fd> Reopen(int fd) {
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  Fd opened(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (opened.is_open()) return opened;
  if (errno == ENOENT) {
    return absl::FailedPreconditionError(absl::StrCat(
        "open(\"", path, "\"): shared memory needs /proc to be mounted"));
  }
  return ErrnoStatus(errno, absl::StrCat("open(\"", path, "\")"));
}

// Locks the first byte that nobody holds, from `first` on.
absl::StatusOr<uint32_t> LockOne(const Fd& description, uint32_t first) {
  for (uint32_t i = 0; i < MembersTable::kMaxMembers; ++i) {
    const uint32_t index = (first + i) % MembersTable::kMaxMembers;
    struct flock byte = ByteOf(index, F_WRLCK);
    if (fcntl(description.get(), F_OFD_SETLK, &byte) == 0) return index;
    if (errno != EAGAIN && errno != EACCES) {
      return ErrnoStatus(errno, "fcntl(F_OFD_SETLK)");
    }
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("Members: all ", MembersTable::kMaxMembers,
                   " places for processes that share this memory are taken; "
                   "one is free when one of them ends"));
}

// A mapping that keeps `description` open, here and in no forked child.
absl::StatusOr<void*> Keep(const Fd& description) {
  void* const life =
      mmap(nullptr, kLifeBytes, PROT_NONE, MAP_SHARED, description.get(), 0);
  if (life == MAP_FAILED) return ErrnoStatus(errno, "mmap of a life lock");
  if (madvise(life, kLifeBytes, MADV_DONTFORK) == 0) return life;
  const int error = errno;
  munmap(life, kLifeBytes);
  return ErrnoStatus(error, "madvise(MADV_DONTFORK)");
}

}  // namespace

// The analysis does not see that the handlers come in this order.
void Members::HoldOverForks() {
  static const int done = pthread_atfork(
      []() ABSL_NO_THREAD_SAFETY_ANALYSIS { description_open.Lock(); },
      []() ABSL_NO_THREAD_SAFETY_ANALYSIS { description_open.Unlock(); },
      []() ABSL_NO_THREAD_SAFETY_ANALYSIS { description_open.Unlock(); });
  static_cast<void>(done);
}

absl::StatusOr<std::unique_ptr<Members>> Members::Attach(int fd,
                                                         MembersTable& table) {
  void* const page = mmap(nullptr, sizeof(Own), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return ErrnoStatus(errno, "mmap of a page");
  if (madvise(page, sizeof(Own), MADV_WIPEONFORK) != 0) {
    const int error = errno;
    munmap(page, sizeof(Own));
    return ErrnoStatus(error, "madvise(MADV_WIPEONFORK)");
  }
  return std::unique_ptr<Members>(
      new Members(fd, table, static_cast<Own*>(page)));
}

Members::~Members() {
  Leave();
  if (own_->life != nullptr) munmap(own_->life, kLifeBytes);
  munmap(own_, sizeof(Own));
}

absl::StatusOr<MemberId> Members::Register(const Fd* spare) {
  while (own_->registering.exchange(1) != 0) {
    FutexWait(own_->registering, 1, Deadline(absl::Milliseconds(1)));
  }
  absl::StatusOr<MemberId> id = self();
  if (*id == kNobody) id = Claim(spare);
  own_->registering.store(0);
  FutexWake(own_->registering, 1);
  return id;
}

absl::StatusOr<MemberId> Members::Claim(const Fd* spare) {
  if (!file_.IsOn(fd_)) return Closed();
  ForkSafeLock open(description_open);
  const absl::StatusOr<Fd> description = Reopen(fd_);
  if (description.ok()) return ClaimBy(*description);
  if (spare == nullptr) return description.status();
  return ClaimBy(*spare);
}

absl::StatusOr<MemberId> Members::ClaimBy(const Fd& description) {
  MP_ASSIGN_OR_RETURN(const uint32_t index,
                      LockOne(description, table_.next.fetch_add(
                                               1, std::memory_order_relaxed)));
  MP_ASSIGN_OR_RETURN(own_->life, Keep(description));

  // The byte is ours, so nobody else writes this entry.
  MembersTable::Entry& entry = table_.entries[index];
  uint32_t generation = (GenerationOf(entry) + 1) & kGenerationMask;
  if (generation == 0) generation = 1;
  entry.generation_and_pid.store(uint64_t{generation} << 32 |
                                 static_cast<uint32_t>(getpid()));
  const MemberId id = generation << MembersTable::kIndexBits | index;
  own_->id.store(id);
  return id;
}

Life Members::LifeOf(MemberId id) const {
  if (id == kNobody) return Life::kLeft;
  if (id == self()) return Life::kAlive;
  const MembersTable::Entry& entry = table_.entries[IndexOf(id)];
  const Life ended = entry.left_generation.load() == GenerationOf(id)
                         ? Life::kLeft
                         : Life::kDead;
  if (GenerationOf(entry) != GenerationOf(id)) return ended;
  if (!file_.IsOn(fd_)) return Life::kAlive;
  struct flock byte = ByteOf(IndexOf(id), F_WRLCK);
  if (fcntl(fd_, F_OFD_GETLK, &byte) != 0) return Life::kAlive;
  return byte.l_type == F_UNLCK ? ended : Life::kAlive;
}

pid_t Members::PidOf(MemberId id) const {
  const uint64_t seen = table_.entries[IndexOf(id)].generation_and_pid.load();
  return seen >> 32 == GenerationOf(id) ? static_cast<pid_t>(seen & UINT32_MAX)
                                        : 0;
}

void Members::Leave() {
  const MemberId id = self();
  if (id == kNobody) return;
  table_.entries[IndexOf(id)].left_generation.store(GenerationOf(id));
}

}  // namespace mp
