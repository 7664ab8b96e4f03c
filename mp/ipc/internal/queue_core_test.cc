#include "mp/ipc/internal/queue_core.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_layout.h"
#include "mp/ipc/internal/queue_test_util.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::mp::testing::WasKilledBy;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Le;

constexpr auto kExpired = absl::StatusCode::kDeadlineExceeded;
constexpr auto kShutDown = absl::StatusCode::kFailedPrecondition;

class QueueCoreTest : public ::testing::Test {
  LeakCheck leak_check_;
};

// Bytes that say where they belong.
std::string Pattern(uint64_t seed, size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    text[i] = static_cast<char>(seed >> 56);
  }
  return text;
}

bool IsReadable(int fd) {
  pollfd entry = {fd, POLLIN, 0};
  return poll(&entry, 1, 0) == 1;
}

TEST_F(QueueCoreTest, MessagesComeOutInTheirOrder) {
  auto queue = MakeQueue();
  for (int i = 0; i < 100000; ++i) {
    ASSERT_THAT(PutText(*queue, absl::StrCat("message ", i)), IsOk());
  }
  EXPECT_EQ(queue->Size(), 100000);
  for (int i = 0; i < 100000; ++i) {
    ASSERT_THAT(GetText(*queue), IsOkAndHolds(absl::StrCat("message ", i)));
  }
  EXPECT_TRUE(queue->Empty());
}

TEST_F(QueueCoreTest, AChildGetsWhatItsParentPuts) {
  auto queue = MakeQueue();
  Child child = RunInChild([&]() -> absl::Status {
    for (int i = 0; i < 50000; ++i) {
      MP_ASSIGN_OR_RETURN(const std::string got, GetText(*queue));
      EXPECT_EQ(got, absl::StrCat("message ", i));
    }
    return absl::OkStatus();
  });
  for (int i = 0; i < 50000; ++i) {
    ASSERT_THAT(PutText(*queue, absl::StrCat("message ", i)), IsOk());
  }
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(QueueCoreTest, PiecesAndFlagsMakeAMessage) {
  auto queue = MakeQueue();
  const absl::string_view pieces[] = {"one", "", "two", {}};
  ASSERT_THAT(queue->Put(pieces, 0xA5, Long()), IsOk());
  ASSERT_THAT(queue->Put({}, 0, Long()), IsOk());
  EXPECT_THAT(queue->Put({}, 256, Long()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("256")));
  std::vector<std::pair<std::string, uint32_t>> got;
  EXPECT_THAT(queue->GetBatch(9, Long(),
                              [&](absl::string_view bytes, uint32_t flags) {
                                got.emplace_back(bytes, flags);
                                return absl::OkStatus();
                              }),
              IsOkAndHolds(2));
  EXPECT_THAT(got, ElementsAre(std::pair<std::string, uint32_t>("onetwo", 0xA5),
                               std::pair<std::string, uint32_t>("", 0)));
}

// Around the end of the ring, and into other segments and back.
TEST_F(QueueCoreTest, MessagesOfAllSizesArriveWhole) {
  auto queue = MakeQueue();
  uint64_t put = 0;
  uint64_t got = 0;
  const auto size_of = [](uint64_t number) -> size_t {
    const size_t sizes[] = {0,     1,     7,       8,    9,   64,
                            65536, 65528, 1 << 20, 4095, 100, 3,
                            32760, 5000,  300000,  24,   1,   65535};
    return sizes[number * 7 % std::size(sizes)] + number % 3;
  };
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 1 + round % 9; ++i, ++put) {
      ASSERT_THAT(PutText(*queue, Pattern(put, size_of(put))), IsOk());
    }
    while (got + round % 4 < put) {
      ASSERT_EQ(*GetText(*queue), Pattern(got, size_of(got))) << got;
      ++got;
    }
  }
}

TEST_F(QueueCoreTest, HoldsAsManyAsMaxsizeSays) {
  auto queue = MakeQueue({.maxsize = 3});
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(queue->Full());
    ASSERT_THAT(PutText(*queue, "x", Now()), IsOk());
  }
  EXPECT_TRUE(queue->Full());
  EXPECT_THAT(PutText(*queue, "y", Now()), StatusIs(kExpired, HasSubstr("3")));
  const absl::Time start = absl::Now();
  EXPECT_THAT(PutText(*queue, "y", Deadline(absl::Milliseconds(70))),
              StatusIs(kExpired));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(70));
  ASSERT_THAT(GetText(*queue), IsOkAndHolds("x"));
  ASSERT_THAT(PutText(*queue, "z", Now()), IsOk());
  EXPECT_TRUE(queue->Full());
}

TEST_F(QueueCoreTest, HoldsAsManyBytesAsMaxBytesSays) {
  auto queue = MakeQueue({.max_bytes = 100});
  ASSERT_THAT(PutText(*queue, std::string(60, 'a')), IsOk());
  ASSERT_THAT(PutText(*queue, std::string(40, 'b')), IsOk());
  EXPECT_TRUE(queue->Full());
  EXPECT_THAT(PutText(*queue, "c", Now()), StatusIs(kExpired));
  EXPECT_THAT(PutText(*queue, std::string(101, 'd')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("100")));
  ASSERT_THAT(GetText(*queue), IsOkAndHolds(std::string(60, 'a')));
  EXPECT_THAT(PutText(*queue, std::string(61, 'd'), Now()), StatusIs(kExpired));
  EXPECT_THAT(PutText(*queue, std::string(60, 'd'), Now()), IsOk());
}

TEST_F(QueueCoreTest, GetGivesUpAtItsDeadline) {
  auto queue = MakeQueue();
  EXPECT_THAT(GetText(*queue, Now()), StatusIs(kExpired, HasSubstr("empty")));
  const absl::Time start = absl::Now();
  EXPECT_THAT(GetText(*queue, Deadline(absl::Milliseconds(70))),
              StatusIs(kExpired));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(70));
}

// Each waits for the other, so both sleep now and then.
TEST_F(QueueCoreTest, PutWaitsForRoomAndGetForMessages) {
  auto there = MakeQueue({.maxsize = 2});
  auto back = MakeQueue({.maxsize = 1});
  Child child = RunInChild([&]() -> absl::Status {
    for (int i = 0; i < 3000; ++i) {
      MP_ASSIGN_OR_RETURN(const std::string got, GetText(*there));
      if (i % 500 == 0) absl::SleepFor(absl::Milliseconds(2));
      MP_RETURN_IF_ERROR(PutText(*back, got));
    }
    return absl::OkStatus();
  });
  int put = 0;
  for (int i = 0; i < 3000; ++i) {
    while (put < std::min(i + 3, 3000)) {
      ASSERT_THAT(PutText(*there, absl::StrCat(put++)), IsOk());
    }
    ASSERT_THAT(GetText(*back), IsOkAndHolds(absl::StrCat(i)));
  }
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(QueueCoreTest, ThreadsShareIt) {
  auto queue = MakeQueue({.maxsize = 10});
  std::atomic<uint64_t> sum = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (uint64_t i = 1; i <= 5000; ++i) MP_CHECK_OK(PutValue(*queue, i));
    });
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        MP_CHECK_OK(queue->Get(Long(), [&](absl::string_view bytes, uint32_t) {
          uint64_t value;
          std::memcpy(&value, bytes.data(), sizeof(value));
          sum += value;
          return absl::OkStatus();
        }));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 4u * 5000 * 5001 / 2);
}

TEST_F(QueueCoreTest, BatchesKeepTheirOrder) {
  auto queue = MakeQueue();
  std::vector<std::string> texts;
  for (int i = 0; i < 1000; ++i) texts.push_back(absl::StrCat("text ", i));
  const std::vector<absl::string_view> views(texts.begin(), texts.end());
  EXPECT_THAT(queue->PutBatch(views, Long()), IsOkAndHolds(1000));
  std::vector<std::string> got;
  const auto keep = [&](absl::string_view bytes, uint32_t) {
    got.emplace_back(bytes);
    return absl::OkStatus();
  };
  EXPECT_THAT(queue->GetBatch(0, Long(), keep), IsOkAndHolds(0));
  EXPECT_THAT(queue->GetBatch(10, Long(), keep), IsOkAndHolds(10));
  EXPECT_THAT(queue->GetBatch(5000, Long(), keep), IsOkAndHolds(990));
  EXPECT_EQ(got, texts);
  EXPECT_THAT(queue->GetBatch(5, Now(), keep), StatusIs(kExpired));
}

TEST_F(QueueCoreTest, ABatchStopsWhereItIsFull) {
  auto queue = MakeQueue({.maxsize = 5});
  const std::vector<absl::string_view> views(8, "x");
  EXPECT_THAT(queue->PutBatch(views, Now()), IsOkAndHolds(5));
  EXPECT_EQ(queue->Size(), 5);
  EXPECT_THAT(queue->PutBatch(views, Now()), StatusIs(kExpired));
}

TEST_F(QueueCoreTest, AMessageIsWrittenInPlace) {
  auto queue = MakeQueue();
  {
    auto place = *queue->Reserve(10, Long());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(place.bytes().data()) % 8, 0);
    std::memcpy(place.bytes().data(), "0123456789", 10);
    EXPECT_THAT(place.Commit(0, 11),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_EQ(queue->Size(), 0);
    EXPECT_THAT(place.Commit(0, 7), IsOk());
    EXPECT_THAT(place.Commit(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
  }
  ASSERT_THAT(PutText(*queue, "next"), IsOk());
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("0123456"));
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("next"));
}

TEST_F(QueueCoreTest, APlaceThatIsDroppedLeavesNothing) {
  auto queue = MakeQueue();
  const uint64_t before = MemoryOf(*queue);
  {
    auto place = *queue->Reserve(64 << 20, Long());
    std::memset(place.bytes().data(), 1, place.bytes().size());
    EXPECT_GE(MemoryOf(*queue), 64 << 20);
  }
  EXPECT_LE(MemoryOf(*queue), before + 65536);
  EXPECT_TRUE(queue->Empty());
  ASSERT_THAT(PutText(*queue, "x"), IsOk());
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("x"));
}

TEST_F(QueueCoreTest, AMessageStaysIfItCannotBeTaken) {
  auto queue = MakeQueue();
  ASSERT_THAT(PutText(*queue, "kept"), IsOk());
  EXPECT_THAT(queue->Get(Long(),
                         [&](absl::string_view, uint32_t) {
                           EXPECT_EQ(queue->taken(), 0);
                           return absl::UnavailableError("no room");
                         }),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no room")));
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("kept"));
  EXPECT_EQ(queue->taken(), 1);
}

// ---- Shutdown

TEST_F(QueueCoreTest, AfterItsEndItIsEmptied) {
  auto queue = MakeQueue();
  ASSERT_THAT(PutText(*queue, "last"), IsOk());
  queue->Shutdown(/*immediate=*/false);
  EXPECT_TRUE(queue->is_shut_down());
  EXPECT_THAT(PutText(*queue, "late"), StatusIs(kShutDown));
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("last"));
  EXPECT_THAT(GetText(*queue), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(QueueCoreTest, AnImmediateEndDropsAll) {
  auto queue = MakeQueue();
  for (int i = 0; i < 9; ++i) ASSERT_THAT(PutText(*queue, "x"), IsOk());
  queue->Shutdown(/*immediate=*/true);
  EXPECT_EQ(queue->Size(), 0);
  EXPECT_THAT(GetText(*queue), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(queue->JoinTasks(Long()), IsOk());
}

TEST_F(QueueCoreTest, TheEndIsToldToThoseThatWait) {
  auto empty = MakeQueue();
  auto full = MakeQueue({.maxsize = 1});
  ASSERT_THAT(PutText(*full, "x"), IsOk());
  Child getter = RunInChild([&]() -> absl::Status {
    EXPECT_THAT(GetText(*empty), StatusIs(absl::StatusCode::kOutOfRange));
    return absl::OkStatus();
  });
  Child putter = RunInChild([&]() -> absl::Status {
    EXPECT_THAT(PutText(*full, "y"), StatusIs(kShutDown));
    return absl::OkStatus();
  });
  empty->Shutdown(false);
  full->Shutdown(false);
  EXPECT_THAT(getter.Wait(), ExitedWith(0));
  EXPECT_THAT(putter.Wait(), ExitedWith(0));
}

TEST_F(QueueCoreTest, APutThatIsUnderWayAtTheEndFails) {
  auto queue = MakeQueue();
  auto place = *queue->Reserve(1, Long());
  queue->Shutdown(false);
  EXPECT_THAT(place.Commit(), StatusIs(kShutDown));
}

// ---- Tasks

TEST_F(QueueCoreTest, JoinWaitsUntilAllTasksAreDone) {
  auto queue = MakeQueue();
  EXPECT_THAT(queue->JoinTasks(Now()), IsOk());
  EXPECT_THAT(queue->TaskDone(), StatusIs(kShutDown));
  for (int i = 0; i < 20; ++i) ASSERT_THAT(PutText(*queue, "x"), IsOk());
  EXPECT_THAT(queue->TaskDone(), StatusIs(kShutDown));
  EXPECT_THAT(queue->JoinTasks(Deadline(absl::Milliseconds(60))),
              StatusIs(kExpired, HasSubstr("20")));
  Child child = RunInChild([&]() -> absl::Status {
    for (int i = 0; i < 20; ++i) {
      MP_RETURN_IF_ERROR(GetText(*queue).status());
      MP_RETURN_IF_ERROR(queue->TaskDone());
    }
    return absl::OkStatus();
  });
  EXPECT_THAT(queue->JoinTasks(Long()), IsOk());
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(queue->TaskDone(), StatusIs(kShutDown));
}

TEST_F(QueueCoreTest, TasksOfADeadProcessCountAsDone) {
  auto queue = MakeQueue();
  for (int i = 0; i < 5; ++i) ASSERT_THAT(PutText(*queue, "x"), IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    for (int i = 0; i < 3; ++i) MP_RETURN_IF_ERROR(GetText(*queue).status());
    MP_RETURN_IF_ERROR(queue->TaskDone());
    raise(SIGKILL);
    return absl::OkStatus();
  });
  const pid_t pid = child.pid();
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(queue->JoinTasks(Long()),
              StatusIs(absl::StatusCode::kAborted,
                       HasSubstr(absl::StrCat("pid ", pid, " ended"))));
  EXPECT_THAT(queue->JoinTasks(Now()), StatusIs(kExpired, HasSubstr("2 ")));
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(GetText(*queue), IsOkAndHolds("x"));
    ASSERT_THAT(queue->TaskDone(), IsOk());
  }
  EXPECT_THAT(queue->JoinTasks(Long()), IsOk());
}

// ---- Death

TEST_F(QueueCoreTest, AWriterThatDiesInAMessageIsNotSeen) {
  auto queue = MakeQueue();
  Child child = RunInChild([&]() -> absl::Status {
    auto place = queue->Reserve(1 << 20, Long());
    raise(SIGKILL);
    return place.status();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
  ASSERT_THAT(PutText(*queue, "next"), IsOk());
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("next"));
  EXPECT_THAT(MemoryOf(*queue), Le(uint64_t{1} << 19));  // swept
}

TEST_F(QueueCoreTest, AReaderThatDiesInAMessageLeavesIt) {
  auto queue = MakeQueue();
  ASSERT_THAT(PutText(*queue, "kept"), IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    return queue->Get(Long(), [](absl::string_view, uint32_t) {
      raise(SIGKILL);
      return absl::OkStatus();
    });
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("kept"));
}

TEST_F(QueueCoreTest, AStoppedWriterIsWaitedForUntilTheDeadline) {
  auto queue = MakeQueue();
  auto told = MakeQueue();
  Child child = RunInChild([&]() -> absl::Status {
    auto place = queue->Reserve(8, Long());
    MP_RETURN_IF_ERROR(PutText(*told, "has it"));
    raise(SIGSTOP);
    return place->Commit();
  });
  ASSERT_THAT(GetText(*told), IsOk());
  EXPECT_THAT(PutText(*queue, "x", Deadline(absl::Milliseconds(100))),
              StatusIs(kExpired));
  EXPECT_THAT(GetText(*queue, Now()), StatusIs(kExpired));
  while (kill(child.pid(), SIGCONT) == 0 && queue->Empty()) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(PutText(*queue, "x"), IsOk());
}

TEST_F(QueueCoreTest, AForkedChildLetsGoOfItsParentsPlace) {
  auto queue = MakeQueue();
  auto place = *queue->Reserve(5, Long());
  std::memcpy(place.bytes().data(), "whole", 5);
  Child child = RunInChild([&]() -> absl::Status {
    EXPECT_THAT(place.Commit(), StatusIs(kShutDown));
    const auto gone = std::move(place);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(place.Commit(), IsOk());
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("whole"));
}

TEST_F(QueueCoreTest, TheLastOneIsToldIfItAsksForThat) {
  auto queue = MakeQueue({.alone_is_unavailable = true});
  EXPECT_THAT(GetText(*queue, Deadline(absl::Milliseconds(120))),
              StatusIs(kExpired));
  Child child = RunInChild([&] { return PutText(*queue, "bye"); });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("bye"));
  EXPECT_THAT(GetText(*queue), StatusIs(absl::StatusCode::kUnavailable));
}

// ---- Memory

TEST_F(QueueCoreTest, MemoryGoesBackWhenItIsEmpty) {
  auto queue = MakeQueue();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 64; ++i) {
      ASSERT_THAT(PutText(*queue, std::string(1 << 20, 'x')), IsOk());
    }
    EXPECT_GE(MemoryOf(*queue), 64 << 20);
    for (int i = 0; i < 64; ++i) ASSERT_THAT(GetText(*queue), IsOk());
    EXPECT_LE(MemoryOf(*queue), kIdleBytes);
  }
}

TEST_F(QueueCoreTest, MemoryGoesBackAsItIsTaken) {
  auto queue = MakeQueue();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_THAT(PutText(*queue, std::string(100000, 'x')), IsOk());
  }
  for (int i = 0; i < 900; ++i) ASSERT_THAT(GetText(*queue), IsOk());
  EXPECT_LE(MemoryOf(*queue), 80 << 20);  // of 100 MB and more
}

TEST_F(QueueCoreTest, OneSegmentServesThoseWhoKeepUp) {
  auto queue = MakeQueue();
  const uint64_t before = MemoryOf(*queue);
  for (int i = 0; i < 100000; ++i) {
    ASSERT_THAT(PutText(*queue, "some text of a message"), IsOk());
    ASSERT_THAT(GetText(*queue), IsOk());
  }
  EXPECT_LE(MemoryOf(*queue), before + 65536);
}

TEST_F(QueueCoreTest, GrowsToManySegments) {
  auto queue = MakeQueue();
  constexpr int kSizes[] = {10, 70000, 200000, 3000000, 1, 9000000};
  for (int i = 0; i < 60; ++i) {
    ASSERT_THAT(PutText(*queue, Pattern(i, kSizes[i % 6])), IsOk()) << i;
  }
  for (int i = 0; i < 60; ++i) {
    ASSERT_EQ(*GetText(*queue), Pattern(i, kSizes[i % 6])) << i;
  }
  EXPECT_LE(MemoryOf(*queue), kIdleBytes);
}

// ---- Attach

TEST_F(QueueCoreTest, WhoHasTheDescriptorsHasTheQueue) {
  auto queue = MakeQueue({.maxsize = 7});
  ASSERT_THAT(PutText(*queue, "x"), IsOk());
  auto other = *QueueCore::Attach(*Fd::DupOf(queue->memory_fd()),
                                  *Fd::DupOf(queue->event_fd()));
  EXPECT_EQ(other->options().maxsize, 7);
  EXPECT_THAT(GetText(*other), IsOkAndHolds("x"));
  ASSERT_THAT(PutText(*other, "y"), IsOk());
  EXPECT_THAT(GetText(*queue), IsOkAndHolds("y"));
}

TEST_F(QueueCoreTest, WhatIsNoQueueIsRefused) {
  constexpr auto kLoss = absl::StatusCode::kDataLoss;
  EXPECT_THAT(QueueCore::Attach(Fd()), StatusIs(kLoss));
  EXPECT_THAT(QueueCore::Attach(Fd(open("/dev/null", O_RDWR | O_CLOEXEC))),
              StatusIs(kLoss));
  const int empty = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  fcntl(empty, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK);
  EXPECT_THAT(QueueCore::Attach(Fd(empty)),
              StatusIs(kLoss, HasSubstr("0 bytes")));
  const int zeros = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(zeros, (kMaxSegments + 1) * kMinWindowBytes), 0);
  fcntl(zeros, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK);
  EXPECT_THAT(QueueCore::Attach(Fd(zeros)),
              StatusIs(kLoss, HasSubstr("mpQUEUE")));
}

TEST_F(QueueCoreTest, AQueueOfAnotherVersionIsNamed) {
  auto queue = MakeQueue();
  const uint32_t other = kQueueVersion + 1;
  ASSERT_EQ(pwrite(queue->memory_fd(), &other, sizeof(other),
                   offsetof(QueueHead, format) + offsetof(FormatHead, version)),
            sizeof(other));
  EXPECT_THAT(
      QueueCore::Attach(*Fd::DupOf(queue->memory_fd())),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 2")));
}

TEST_F(QueueCoreTest, WorksWithinALimitOfFileSizes) {
  Child child = RunInChild([]() -> absl::Status {
    signal(SIGXFSZ, SIG_DFL);
    rlimit limit = {uint64_t{100} << 20, uint64_t{100} << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    MP_ASSIGN_OR_RETURN(auto queue, QueueCore::Create({}));
    EXPECT_THAT(PutText(*queue, std::string(2 << 20, 'x')),
                StatusIs(absl::StatusCode::kInvalidArgument));
    for (int i = 0; i < 60; ++i) {
      EXPECT_THAT(PutText(*queue, std::string(600000, 'x')), IsOk());
    }
    for (int i = 0; i < 10; ++i) {
      const absl::Status put = PutText(*queue, std::string(1000000, 'x'));
      EXPECT_TRUE(put.ok() || absl::IsResourceExhausted(put)) << put;
    }
    limit.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &limit);
    EXPECT_THAT(
        QueueCore::Create({}),
        StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("ulimit -f")));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(QueueCoreTest, SaysWhenItsDescriptorWasClosed) {
  Child child = RunInChild([]() -> absl::Status {
    auto queue = MakeQueue();
    MP_RETURN_IF_ERROR(PutText(*queue, "x"));
    close(queue->memory_fd());
    MP_RETURN_IF_ERROR(PutText(*queue, "y"));
    EXPECT_THAT(
        PutText(*queue, std::string(1 << 20, 'z')),
        StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("closed")));
    EXPECT_THAT(GetText(*queue), IsOkAndHolds("x"));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// ---- The descriptor to poll

TEST_F(QueueCoreTest, ADescriptorSaysWhenThereIsSomething) {
  auto queue = MakeQueue();
  ASSERT_THAT(PutText(*queue, "x"), IsOk());
  const int fd = queue->fileno();
  ASSERT_GE(fd, 0);
  EXPECT_TRUE(IsReadable(fd));
  ASSERT_THAT(GetText(*queue), IsOk());
  EXPECT_FALSE(IsReadable(fd));
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(PutText(*queue, "y"));
    return PutText(*queue, "z");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_TRUE(IsReadable(fd));
  ASSERT_THAT(GetText(*queue), IsOk());
  EXPECT_TRUE(IsReadable(fd));
  ASSERT_THAT(GetText(*queue), IsOk());
  EXPECT_FALSE(IsReadable(fd));
  queue->Shutdown(false);
  EXPECT_TRUE(IsReadable(fd));
}

TEST_F(QueueCoreTest, OneThatWasAttachedWithoutHasNoDescriptor) {
  auto queue = MakeQueue();
  auto other = *QueueCore::Attach(*Fd::DupOf(queue->memory_fd()));
  EXPECT_EQ(other->event_fd(), -1);
  EXPECT_EQ(other->fileno(), -1);
}

}  // namespace
}  // namespace mp::internal
