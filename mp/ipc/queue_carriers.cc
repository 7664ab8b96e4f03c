#include "mp/ipc/queue_carriers.h"

#include <fcntl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/futex.h"
#include "mp/base/io.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/queue.h"

#if __has_include(<boost/interprocess/ipc/message_queue.hpp>)
#include <boost/interprocess/ipc/message_queue.hpp>
#define MP_HAS_BOOST_ 1
#else
#define MP_HAS_BOOST_ 0
#endif

namespace mp {
namespace {

// Memory that forked children share, zero at first and touched.
absl::StatusOr<void*> Share(size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return ErrnoStatus(errno, "mmap");
  return memory;
}

// ---- The ring

constexpr uint64_t kRingBytes = uint64_t{1} << 20;

// One side's position, and whether it sleeps for the other to move.
struct alignas(64) Side {
  std::atomic<uint64_t> position;
  alignas(64) FutexWord asleep;
};

bool Membarrier(int command) {
  return syscall(SYS_membarrier, command, 0) == 0;
}

// A stream of bytes for one that writes and one that reads. The fence between
// "there is more" and "does it sleep?" is the sleeper's to pay for.
struct ByteRing {
  bool has_membarrier;
  Side written;
  Side read;
  alignas(64) char bytes[kRingBytes];

  void Write(const char* from, size_t size) {
    uint64_t at = written.position.load(std::memory_order_relaxed);
    while (size > 0) {
      const uint64_t room = Await(read, [&](uint64_t position) {
        return kRingBytes - (at - position);
      });
      const size_t piece = std::min(
          {size, static_cast<size_t>(room), ToWrap(at), kRingBytes / 8});
      std::memcpy(bytes + at % kRingBytes, from, piece);
      at += piece;
      from += piece;
      size -= piece;
      Publish(written, at);
    }
  }

  void Read(char* into, size_t size) {
    uint64_t at = read.position.load(std::memory_order_relaxed);
    while (size > 0) {
      const uint64_t there =
          Await(written, [&](uint64_t position) { return position - at; });
      const size_t piece = std::min(
          {size, static_cast<size_t>(there), ToWrap(at), kRingBytes / 8});
      std::memcpy(into, bytes + at % kRingBytes, piece);
      at += piece;
      into += piece;
      size -= piece;
      Publish(read, at);
    }
  }

 private:
  static size_t ToWrap(uint64_t at) { return kRingBytes - at % kRingBytes; }

  // Moves `own`, and wakes the other if it sleeps for that.
  void Publish(Side& own, uint64_t at) const {
    own.position.store(at, std::memory_order_release);
    if (has_membarrier) {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    if (own.asleep.load(std::memory_order_relaxed) == 0) return;
    own.asleep.store(0);
    FutexWake(own.asleep, 1);
  }

  // Looks, yields, then sleeps until `other` has moved far enough.
  template <typename Amount>
  uint64_t Await(Side& other, Amount amount) const {
    const auto look = [&] {
      return amount(other.position.load(std::memory_order_acquire));
    };
    for (int i = 0; i < 50; ++i) {
      if (const uint64_t there = look(); there > 0) return there;
      if (i >= 20) {
        sched_yield();
      } else {
        __builtin_ia32_pause();
      }
    }
    while (true) {
      other.asleep.store(1, std::memory_order_seq_cst);
      if (has_membarrier) Membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
      if (const uint64_t there = look(); there > 0) {
        other.asleep.store(0);
        return there;
      }
      FutexWait(other.asleep, 1, Deadline(absl::InfiniteDuration()));
    }
  }
};

// ---- Boost

#if MP_HAS_BOOST_
absl::StatusOr<Carrier> MakeBoost(size_t message_bytes) {
  using boost::interprocess::message_queue;
  const size_t slots =
      std::clamp<size_t>((size_t{1} << 20) / message_bytes, 2, 1024);
  struct statvfs shm;
  if (statvfs("/dev/shm", &shm) != 0 ||
      shm.f_bavail * shm.f_frsize < 2 * slots * message_bytes) {
    return absl::UnimplementedError("too little room in /dev/shm");
  }
  const std::string name = absl::StrCat("mp_queue_ratios.", getpid());
  message_queue::remove(name.c_str());
  auto queue = std::make_shared<message_queue>(
      boost::interprocess::create_only, name.c_str(), slots, message_bytes);
  message_queue::remove(name.c_str());
  return Carrier{.put =
                     [queue](const std::string& message) {
                       queue->send(message.data(), message.size(), 0);
                       return true;
                     },
                 .get =
                     [queue](std::string& message) {
                       size_t size = 0;
                       unsigned int priority = 0;
                       queue->receive(message.data(), message.size(), size,
                                      priority);
                       return size == message.size();
                     }};
}
#endif

absl::StatusOr<Carrier> StreamCarrier(Fd reader, Fd writer) {
  auto from = std::make_shared<Fd>(std::move(reader));
  auto to = std::make_shared<Fd>(std::move(writer));
  return Carrier{.put =
                     [to](const std::string& message) {
                       return WriteAll(to->get(), message).ok();
                     },
                 .get =
                     [from](std::string& message) {
                       const auto size = ReadUpTo(from->get(), message.data(),
                                                  message.size());
                       return size.ok() && *size == message.size();
                     }};
}

}  // namespace

MakeCarrier QueueCarrier(QueueOptions options) {
  return [options](size_t) -> absl::StatusOr<Carrier> {
    MP_ASSIGN_OR_RETURN(const auto queue, Queue<std::string>::Create(options));
    return Carrier{.put =
                       [queue](const std::string& message) {
                         return queue.Put(message).ok();
                       },
                   .get =
                       [queue](std::string& message) {
                         return queue.GetInto(message).ok();
                       }};
  };
}

absl::StatusOr<Carrier> RingCarrier(size_t message_bytes) {
  MP_ASSIGN_OR_RETURN(void* const memory, Share(sizeof(ByteRing)));
  std::shared_ptr<ByteRing> ring(
      static_cast<ByteRing*>(memory),
      [](ByteRing* ring) { munmap(ring, sizeof(ByteRing)); });
  // Children inherit it.
  ring->has_membarrier = Membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
  return Carrier{.put =
                     [ring](const std::string& message) {
                       ring->Write(message.data(), message.size());
                       return true;
                     },
                 .get =
                     [ring, message_bytes](std::string& message) {
                       ring->Read(message.data(), message_bytes);
                       return true;
                     }};
}

absl::StatusOr<Carrier> PipeCarrier(size_t) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
  fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
  return StreamCarrier(Fd(ends[0]), Fd(ends[1]));
}

absl::StatusOr<Carrier> SocketCarrier(size_t) {
  MP_ASSIGN_OR_RETURN(SocketPair ends, CreateSocketPair());
  return StreamCarrier(std::move(ends.first), std::move(ends.second));
}

absl::StatusOr<Carrier> CopyCarrier(size_t message_bytes) {
  MP_ASSIGN_OR_RETURN(void* const memory, Share(message_bytes));
  std::shared_ptr<void> place(
      memory, [=](void* memory) { munmap(memory, message_bytes); });
  return Carrier{.put =
                     [place](const std::string& message) {
                       std::memcpy(place.get(), message.data(), message.size());
                       return true;
                     },
                 .get =
                     [place](std::string& message) {
                       std::memcpy(message.data(), place.get(), message.size());
                       return true;
                     }};
}

absl::StatusOr<Carrier> BoostCarrier([[maybe_unused]] size_t message_bytes) {
#if MP_HAS_BOOST_
  return MakeBoost(message_bytes);
#else
  return absl::UnimplementedError("Boost is not installed");
#endif
}

}  // namespace mp
