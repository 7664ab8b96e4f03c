// What becomes of slots when the processes that use them end, fork, or lose
// them on their way.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/base/arena_layout.h"
#include "mp/base/arena_map.h"
#include "mp/base/arena_slots.h"
#include "mp/base/arena_transit.h"
#include "mp/base/fd.h"
#include "mp/base/members.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using testing::Child;
using testing::ExitedWith;
using testing::IsOk;
using testing::Marker;
using testing::RunInChild;
using testing::StatusIs;

absl::Status Expect(bool condition, const std::string& what) {
  return condition ? absl::OkStatus() : absl::InternalError(what);
}

class ArenaDeathTest : public ::testing::Test {
 protected:
  Slot Allocate() { return arena_.Allocate(64).value(); }

  // Starts a child that runs `body` and then waits to be killed.
  Child StartChild(absl::FunctionRef<absl::Status()> body) {
    Child child = RunInChild([&]() -> absl::Status {
      MP_RETURN_IF_ERROR(body());
      MP_RETURN_IF_ERROR(ready_.Signal());
      while (true) pause();
    });
    EXPECT_THAT(ready_.Await(), IsOk());
    return child;
  }

  static void Kill(Child& child) {
    child.Kill(SIGKILL);
    child.Wait();
  }

  // How many slots are used, after those of the dead have been freed.
  int Used() {
    arena_.map().Sweep();
    internal::ArenaSlots slots(arena_.map().file(), arena_.members());
    const uint32_t chunks = arena_.map().file().head().next_chunk;
    int used = 0;
    for (uint32_t i = 0; i < chunks * internal::kSlotsPerChunk; ++i) {
      const auto slot = slots.At(i);
      if (slot.has_value() &&
          internal::SlotHeader::IsUsed(slot->header->state.load())) {
        ++used;
      }
    }
    return used;
  }

  testing::LeakCheck leak_check_;
  Arena arena_ = Arena::Create().value();
  Marker ready_ = *Marker::Create();
};

// ---- Ends

TEST_F(ArenaDeathTest, WhatADeadProcessUsedIsFreed) {
  Child child = StartChild([&]() -> absl::Status {
    auto& slots = *new std::vector<Slot>;
    for (int i = 0; i < 1000; ++i) slots.push_back(Allocate());
    return absl::OkStatus();
  });
  EXPECT_EQ(Used(), 1000);
  Kill(child);
  EXPECT_EQ(Used(), 0);
}

TEST_F(ArenaDeathTest, TheDeadDoNotMakeItGrow) {
  const int chunks_before = 8 + 1;
  for (int i = 0; i < 15; ++i) {
    Child child = RunInChild([&]() -> absl::Status {
      auto& slots = *new std::vector<Slot>;
      for (int j = 0; j < 2000; ++j) slots.push_back(Allocate());
      raise(SIGKILL);
      return absl::OkStatus();
    });
    child.Wait();
  }
  EXPECT_LE(arena_.map().file().head().next_chunk, chunks_before);
}

TEST_F(ArenaDeathTest, ASlotOutlivesTheOneThatMadeIt) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  const Fd writer(ends[1]);
  Slot kept;
  Child child = StartChild([&]() -> absl::Status {
    auto& slot = *new Slot(Allocate());
    std::memcpy(slot.data(), "kept", 5);
    const uint64_t offset = slot.offset();
    // Lets it be seen without sending it: it stays alive until received.
    return Expect(write(writer.get(), &offset, 8) == 8, "write");
  });
  uint64_t offset = 0;
  ASSERT_EQ(read(reader.get(), &offset, 8), 8);
  kept = Slot::Receive(arena_, offset).value();
  Kill(child);
  EXPECT_EQ(Used(), 1);
  EXPECT_STREQ(static_cast<char*>(kept.data()), "kept");
  kept = Slot();
  EXPECT_EQ(Used(), 0);
}

TEST_F(ArenaDeathTest, AProcessThatEndsInOrderGivesItsSlotsBack) {
  Child child = RunInChild([&]() -> absl::Status {
    std::vector<Slot> slots;
    for (int i = 0; i < 10; ++i) slots.push_back(Allocate());
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(Used(), 0);
}

// ---- Transit

TEST_F(ArenaDeathTest, TransitKeepsASlotUntilItIsDropped) {
  Slot slot = Allocate();
  const uint64_t offset = slot.offset();
  Fd transit = slot.Ship().value();
  slot = Slot();
  EXPECT_EQ(Used(), 1);
  slot = Slot::Receive(arena_, offset).value();
  transit.Close();
  EXPECT_EQ(Used(), 1);
  slot = Slot();
  EXPECT_EQ(Used(), 0);
}

TEST_F(ArenaDeathTest, AMessageThatNobodyReadsKeepsNothing) {
  Slot slot = Allocate();
  Fd transit = slot.Ship().value();
  slot = Slot();
  transit.Close();
  EXPECT_EQ(Used(), 0);
}

TEST_F(ArenaDeathTest, AReceiverThatIsKilledBeforeItReadsKeepsNothing) {
  Slot slot = Allocate();
  Fd transit = slot.Ship().value();
  Child child = StartChild([] { return absl::OkStatus(); });
  // The child inherited the handle; what it has is to be gone with it.
  transit.Close();
  slot = Slot();
  EXPECT_EQ(Used(), 1);
  Kill(child);
  EXPECT_EQ(Used(), 0);
}

TEST_F(ArenaDeathTest, OneTransitKeepsManySlots) {
  std::vector<Slot> slots;
  for (int i = 0; i < 5000; ++i) slots.push_back(Allocate());
  std::vector<uint64_t> offsets;
  ArenaTransit transit = ArenaTransit::Begin(arena_).value();
  for (const Slot& slot : slots) {
    ASSERT_THAT(transit.Add(slot), IsOk());
    offsets.push_back(slot.offset());
  }
  Fd fd = std::move(transit).Release();
  slots.clear();
  EXPECT_EQ(Used(), 5000);
  for (const uint64_t offset : offsets) {
    slots.push_back(Slot::Receive(arena_, offset).value());
  }
  fd.Close();
  EXPECT_EQ(Used(), 5000);
  slots.clear();
  EXPECT_EQ(Used(), 0);
}

// ---- Forks

TEST_F(ArenaDeathTest, AForkedChildUsesWhatItsParentUsed) {
  Slot slot = Allocate();
  std::memcpy(slot.data(), "ours", 5);
  Marker gone = *Marker::Create();
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(gone.Await());
    MP_RETURN_IF_ERROR(Expect(Used() == 1, "not used any more"));
    MP_RETURN_IF_ERROR(Expect(
        std::string(static_cast<char*>(slot.data())) == "ours", "not ours"));
    slot = Slot();
    return Expect(Used() == 0, "still used");
  });
  slot = Slot();
  ASSERT_THAT(gone.Signal(), IsOk());
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(ArenaDeathTest, AParentKeepsWhatItsChildDrops) {
  Slot slot = Allocate();
  Child child = RunInChild([&]() -> absl::Status {
    slot = Slot();
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(Used(), 1);
}

TEST_F(ArenaDeathTest, AForkedChildKeepsASlotWithoutDescriptorsLeft) {
  Slot slot = Allocate();
  Child child = RunInChild([&]() -> absl::Status {
    while (dup(0) >= 0) continue;
    const pid_t inner = fork();
    if (inner == 0) {
      for (int fd = 900; fd > 800; --fd) close(fd);
      // It cannot have become a member. What it has stays all the same.
      arena_.map().Sweep();
      _exit(internal::SlotHeader::IsUsed(
                static_cast<const internal::SlotHeader*>(slot.data())[-1]
                    .state.load())
                ? 0
                : 1);
    }
    slot = Slot();  // which keeps it, as it has no other way
    int status = -1;
    waitpid(inner, &status, 0);
    return Expect(status == 0, "freed");
  });
  slot = Slot();
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(Used(), 0);
}

// It is as any other child: it lives on alone, and its parent's slots are freed.
TEST_F(ArenaDeathTest, AForkWithoutDescriptorsLeftIsAsAnyOther) {
  Slot slot = Allocate();
  Marker parent_is_gone = *Marker::Create();
  Marker end = *Marker::Create();
  Child parent = RunInChild([&]() -> absl::Status {
    Slot own = Allocate();
    while (dup(0) >= 0) continue;
    for (int i = 0; i < 3; ++i) {
      if (fork() == 0) {
        const bool is_member = arena_.members().self() != kNobody;
        const bool goes_on = i == 2 && is_member && parent_is_gone.Await().ok();
        if (goes_on && ready_.Signal().ok()) end.Await().IgnoreError();
        _exit(0);
      }
      if (i < 2) wait(nullptr);
    }
    own = Slot();
    return absl::OkStatus();
  });
  slot = Slot();
  EXPECT_THAT(parent.Wait(), ExitedWith(0));
  ASSERT_THAT(parent_is_gone.Signal(), IsOk());
  ASSERT_THAT(ready_.Await(), IsOk());
  EXPECT_EQ(Used(), 2);  // what the child had from its parent, and nobody else
  ASSERT_THAT(end.Signal(), IsOk());
  while (Used() != 0) usleep(1000);
}

TEST_F(ArenaDeathTest, AParentWithoutDescriptorsLeftFreesWhatItHas) {
  Slot slot = Allocate();
  Child parent = RunInChild([&]() -> absl::Status {
    std::vector<int> taken;
    for (int fd = dup(0); fd >= 0; fd = dup(0)) taken.push_back(fd);
    const pid_t inner = fork();
    if (inner == 0) _exit(0);
    waitpid(inner, nullptr, 0);
    for (const int fd : taken) close(fd);
    MP_RETURN_IF_ERROR(Expect(Used() == 1, "more than one slot"));
    Slot own = Allocate();
    own = Slot();
    return Expect(Used() == 1, "its slot is not free");
  });
  EXPECT_THAT(parent.Wait(), ExitedWith(0));
}

// It cannot say that it uses anything, and does so all the same.
TEST_F(ArenaDeathTest, AForkedChildKeepsASlotWhereAllPlacesAreTaken) {
  Slot slot = Allocate();
  std::vector<std::unique_ptr<Members>> others;
  for (int i = 1; i < MembersTable::kMaxMembers; ++i) {
    others.push_back(
        Members::Attach(arena_.fd(), arena_.map().file().head().members)
            .value());
    ASSERT_THAT(others.back()->Self(), IsOk());
  }
  Child child = StartChild([&]() -> absl::Status {
    EXPECT_THAT(arena_.Allocate(64),
                StatusIs(absl::StatusCode::kResourceExhausted));
    return Expect(arena_.members().self() == kNobody, "a 4097th");
  });
  others.clear();
  slot = Slot();
  EXPECT_EQ(Used(), 1);
  Kill(child);
  EXPECT_EQ(Used(), 0);
}

TEST_F(ArenaDeathTest, AForkedChildHasADefaultOfItsOwn) {
  Child child = RunInChild([&]() -> absl::Status {
    Arena mine = Arena::Default().value();
    Slot slot = mine.Allocate(8).value();
    const pid_t inner = fork();
    if (inner == 0) {
      _exit(Arena::Default().value() == mine ? 1 : 0);
    }
    int status = -1;
    waitpid(inner, &status, 0);
    return Expect(status == 0, "the same");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(ArenaDeathTest, MoreProcessesThanASlotHasRoomForShareIt) {
  Slot slot = Allocate();
  std::vector<Child> children;
  for (int i = 0; i < 40; ++i) {
    children.push_back(StartChild([] { return absl::OkStatus(); }));
  }
  slot = Slot();
  EXPECT_GT(Used(), 1);  // with its extensions
  while (children.size() > 1) {
    Kill(children.front());
    children.erase(children.begin());
    ASSERT_GE(Used(), 1) << children.size();
  }
  Kill(children.front());
  Used();                // frees the slot, and then
  EXPECT_EQ(Used(), 0);  // its extensions
}

TEST_F(ArenaDeathTest, ForksWhileThreadsAllocateLeaveTheChildInOrder) {
  if (kThreadSanitizer) {
    GTEST_SKIP() << "it may lose a child of a program with threads";
  }
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        const Slot slot = Allocate();
        slot.Ship().value();
      }
    });
  }
  const Slot kept = Allocate();
  for (int i = 0; i < 50; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      const Slot copy = kept;
      const bool ok = Arena::Default()->Allocate(8).ok() &&
                      arena_.Allocate(8).ok() && kept.Ship().ok();
      _exit(ok ? 0 : 1);
    }
    EXPECT_THAT(Child(child).Wait(), ExitedWith(0));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Used(), 1);
}

// ---- All at once

// Datagrams of an offset and a transit descriptor, for whoever reads first.
class Post {
 public:
  Post() {
    int ends[2];
    EXPECT_EQ(
        socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
        0);
    to_ = Fd(ends[0]);
    from_ = Fd(ends[1]);
  }

  void Send(const Slot& slot) {
    absl::StatusOr<Fd> transit = slot.Ship();
    if (!transit.ok()) return;
    uint64_t offset = slot.offset();
    Message message(&offset);
    cmsghdr* const control = CMSG_FIRSTHDR(&message.header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = transit->get();
    std::memcpy(CMSG_DATA(control), &fd, sizeof(fd));
    // If it is full, the slot is lost on its way.
    static_cast<void>(sendmsg(to_.get(), &message.header, 0));
  }

  // Nothing if there is none.
  std::optional<Slot> Receive() {
    uint64_t offset = 0;
    Message message(&offset);
    if (recvmsg(from_.get(), &message.header, MSG_CMSG_CLOEXEC) < 0) return {};
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message.header)), sizeof(fd));
    return Slot::Receive(Fd(fd), offset).value();
  }

 private:
  struct Message {
    explicit Message(uint64_t* offset) : bytes{offset, sizeof(*offset)} {
      header.msg_iov = &bytes;
      header.msg_iovlen = 1;
      header.msg_control = control;
      header.msg_controllen = sizeof(control);
    }

    iovec bytes;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header = {};
  };

  Fd to_;
  Fd from_;
};

// Allocates, sends, receives and frees at random. Each slot holds its own
// offset as long as anybody uses it.
class Player {
 public:
  Player(const Arena& arena, Post& post, std::atomic<uint64_t>& errors,
         uint32_t seed)
      : arena_(arena), post_(post), errors_(errors), random_(seed) {}

  void Play() {
    const size_t turn = Random(5);
    if (turn == 0) return Make();
    if (turn == 1) return Receive();
    if (slots_.empty()) return;
    const size_t i = Random(slots_.size());
    Check(slots_[i]);
    if (turn == 2) post_.Send(slots_[i]);
    if (turn <= 3) slots_.erase(slots_.begin() + static_cast<ptrdiff_t>(i));
  }

 private:
  size_t Random(size_t below) {
    random_ = random_ * 1664525 + 1013904223;
    return (random_ >> 8) % below;
  }

  static std::atomic<uint64_t>& WordOf(const Slot& slot) {
    return *static_cast<std::atomic<uint64_t>*>(slot.data());
  }

  void Make() {
    for (int i = 0; i < 3; ++i) {
      slots_.push_back(arena_.Allocate(64 << Random(3)).value());
      // Somebody uses it already if this is not zero.
      if (WordOf(slots_.back()).exchange(slots_.back().offset()) != 0) {
        ++errors_;
      }
    }
  }

  void Receive() {
    std::optional<Slot> slot = post_.Receive();
    if (!slot.has_value()) return;
    Check(*slot);
    slots_.push_back(*std::move(slot));
  }

  void Check(const Slot& slot) {
    if (WordOf(slot).load() != slot.offset()) ++errors_;
  }

  Arena arena_;
  Post& post_;
  std::atomic<uint64_t>& errors_;
  uint32_t random_;
  std::vector<Slot> slots_;
};

TEST_F(ArenaDeathTest, ProcessesThatAreKilledAtRandomHarmNobody) {
  const Slot place = Allocate();
  auto& errors = *static_cast<std::atomic<uint64_t>*>(place.data());
  auto post = std::make_unique<Post>();
  uint32_t seed = static_cast<uint32_t>(testing::TestSeed());
  SCOPED_TRACE(seed);
  const auto start = [&] {
    ++seed;
    return RunInChild([&]() -> absl::Status {
      Player player(arena_, *post, errors, seed);
      for (int i = 0;; ++i) {
        player.Play();
        if (i == 500) MP_RETURN_IF_ERROR(ready_.Signal());
      }
    });
  };
  std::vector<Child> children;
  for (int i = 0; i < 4; ++i) children.push_back(start());
  for (int i = 0; i < testing::Scaled(100, 1000); ++i) {
    ASSERT_THAT(ready_.Await(), IsOk());
    Kill(children[i % 4]);
    if (i % 7 == 0) arena_.map().Sweep();
    children[i % 4] = start();
  }
  for (Child& child : children) Kill(child);
  EXPECT_EQ(errors, 0u);
  // What is still in the post is kept, and nothing else.
  std::vector<Slot> received;
  while (std::optional<Slot> slot = post->Receive()) received.push_back(*slot);
  post.reset();
  EXPECT_EQ(Used(), static_cast<int>(received.size()) + 1);
}

}  // namespace
}  // namespace mp
