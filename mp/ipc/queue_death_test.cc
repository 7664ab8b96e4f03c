// What becomes of a queue when processes that use it are killed.

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/memfd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/queue.h"
#include "mp/process/fields.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/process/serializer.h"
#include "mp/testing/child.h"
#include "mp/testing/crash_monkey.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::RealStartMethods;
using ::mp::internal::StartMethodTest;
using ::mp::testing::Child;
using ::mp::testing::CrashMonkey;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::Marker;
using ::mp::testing::MonkeyMember;
using ::mp::testing::RunInChild;
using ::mp::testing::Scaled;
using ::mp::testing::StatusIs;
using ::mp::testing::WasKilledBy;

template <typename T>
Queue<T> Make(const QueueOptions& options = {}) {
  absl::StatusOr<Queue<T>> queue = Queue<T>::Create(options);
  MP_CHECK_OK(queue.status());
  return *std::move(queue);
}

// ---- Over the start methods

class QueueDeathTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(QueueDeathTest, RealStartMethods);

absl::Status PutAndDie(Queue<std::string> queue) {
  MP_RETURN_IF_ERROR(queue.Put("last words"));
  raise(SIGKILL);
  return absl::OkStatus();
}

TEST_P(QueueDeathTest, WhatWasPutOutlivesTheOneThatPutIt) {
  const auto queue = Make<std::string>();
  EXPECT_EQ(Run(PutAndDie, queue), -SIGKILL);
  EXPECT_THAT(queue.GetNowait(), IsOkAndHolds("last words"));
}

absl::Status SayAndGet(Queue<bool> ready, Queue<int> queue) {
  MP_RETURN_IF_ERROR(ready.Put(true));
  return queue.Get().status();
}

TEST_P(QueueDeathTest, OneThatIsKilledWhileItWaitsTakesNothing) {
  const auto queue = Make<int>();
  const auto ready = Make<bool>();
  Process waiting(options(), SayAndGet, ready, queue);
  ASSERT_THAT(waiting.Start(), IsOk());
  ASSERT_THAT(ready.Get(kLong), IsOk());
  ASSERT_THAT(waiting.Kill(), IsOk());
  ASSERT_THAT(waiting.Join(kLong), IsOk());
  ASSERT_THAT(queue.Put(1), IsOk());
  EXPECT_THAT(queue.Get(kLong), IsOkAndHolds(1));
}

absl::Status UseAndDie(Queue<int> queue) {
  MP_RETURN_IF_ERROR(queue.Put(1));
  raise(SIGKILL);
  return absl::OkStatus();
}

TEST_P(QueueDeathTest, GetThatNobodyCanAnswerEndsIfThatIsAskedFor) {
  const auto queue = Make<int>({.alone_is_unavailable = true});
  EXPECT_EQ(Run(UseAndDie, queue), -SIGKILL);
  EXPECT_THAT(queue.Get(), IsOkAndHolds(1));
  EXPECT_THAT(queue.Get(), StatusIs(absl::StatusCode::kUnavailable));
}

// ---- In the middle of a call

class QueueKillTest : public ::testing::Test {
  LeakCheck leak_check_;
};

TEST_F(QueueKillTest, ReservationOfADeadProcessIsNobodysMessage) {
  const auto queue = Make<std::string>();
  ASSERT_THAT(queue.Put("before"), IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    MP_ASSIGN_OR_RETURN(auto place, queue.Reserve(1 << 20));
    place.bytes()[0] = 'x';
    raise(SIGKILL);
    return place.Commit();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
  ASSERT_THAT(queue.Put("after", kLong), IsOk());
  EXPECT_THAT(queue.Get(kLong), IsOkAndHolds("before"));
  EXPECT_THAT(queue.Get(kLong), IsOkAndHolds("after"));
  EXPECT_TRUE(queue.Empty());
}

// Kills a process while it puts large values, several times.
TEST_F(QueueKillTest, LargeValueArrivesWholeOrNotAtAll) {
  const auto queue = Make<std::string>({.max_bytes = 64 << 20});
  for (int i = 0; i < Scaled(5, 50); ++i) {
    auto marker = Marker::Create();
    ASSERT_THAT(marker, IsOk());
    Child child = RunInChild([&]() -> absl::Status {
      const std::string text(8 << 20, 'a' + i % 26);
      MP_RETURN_IF_ERROR(marker->Signal());
      while (true) MP_RETURN_IF_ERROR(queue.Put(text));
    });
    ASSERT_THAT(marker->Await(), IsOk());
    child.Kill(SIGKILL);
    EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
    while (true) {
      const absl::StatusOr<std::string> text = queue.Get(absl::ZeroDuration());
      if (absl::IsDeadlineExceeded(text.status())) break;
      ASSERT_THAT(text, IsOk());
      ASSERT_TRUE(*text == std::string(8 << 20, 'a' + i % 26));
    }
    ASSERT_THAT(queue.Put("still works", kLong), IsOk());
    ASSERT_THAT(queue.Get(kLong), IsOkAndHolds("still works"));
  }
}

// ---- Many, at random

constexpr int kProcesses = 6;
constexpr size_t kMaxSeen = size_t{1} << 22;

// What all of them have done, where it outlives them.
struct Book {
  std::atomic<uint32_t> next[kProcesses];      // to be put
  std::atomic<uint32_t> accepted[kProcesses];  // how many Put() said OK
  std::atomic<uint8_t> seen[kMaxSeen];         // by producer and number

  std::atomic<uint8_t>& Seen(uint32_t producer, uint32_t number) {
    return seen[(number * kProcesses + producer) % kMaxSeen];
  }
};

std::unique_ptr<Book, void (*)(Book*)> MakeBook() {
  void* const memory = mmap(nullptr, sizeof(Book), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) MP_CHECK_OK(absl::ResourceExhaustedError("mmap"));
  return {static_cast<Book*>(memory),
          [](Book* book) { munmap(book, sizeof(Book)); }};
}

// The two kinds of value: one that is bytes, and one with a descriptor.
struct Numbered {
  uint32_t producer = 0;
  uint32_t number = 0;
  std::string text;
  MP_FIELDS(producer, number, text)
};
struct NumberedFile {
  uint32_t producer = 0;
  uint32_t number = 0;
  Fd file;
  MP_FIELDS(producer, number, file)
};

std::string TextOf(uint32_t producer, uint32_t number) {
  return std::string(number * 97 % 9000, 'a' + (producer + number) % 26);
}

void Fill(Numbered& value) {
  value.text = TextOf(value.producer, value.number);
}
absl::Status Check(const Numbered& value) {
  return value.text == TextOf(value.producer, value.number)
             ? absl::OkStatus()
             : absl::DataLossError("torn");
}

void Fill(NumberedFile& value) {
  auto file =
      CreateSealedMemfd("n", absl::StrCat(value.producer, ".", value.number));
  MP_CHECK_OK(file.status());
  value.file = *std::move(file);
}
absl::Status Check(const NumberedFile& value) {
  MP_ASSIGN_OR_RETURN(const std::string text,
                      ReadSealedMemfd(value.file, 1000));
  if (text == absl::StrCat(value.producer, ".", value.number)) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat("the descriptor of ", text));
}

// Puts the next value, unless the queue stays full.
template <typename T>
absl::Status PutNext(const Queue<T>& queue, uint32_t producer, Book& book) {
  T value;
  value.producer = producer;
  value.number = book.next[producer].fetch_add(1);
  Fill(value);
  const absl::Status status = queue.Put(value, absl::Milliseconds(200));
  if (status.ok()) ++book.accepted[producer];
  return absl::IsDeadlineExceeded(status) ? absl::OkStatus() : status;
}

// Gets a value, and sees that it is whole, new and in order.
template <typename T>
absl::Status GetNext(const Queue<T>& queue, absl::Duration timeout,
                     std::map<uint32_t, uint32_t>& last, Book& book) {
  MP_ASSIGN_OR_RETURN(const T value, queue.Get(timeout));
  if (book.Seen(value.producer, value.number)++ != 0) {
    return absl::InternalError("twice");
  }
  const auto [found, is_first] = last.try_emplace(value.producer, value.number);
  if (!is_first && found->second >= value.number) {
    return absl::InternalError("not in order");
  }
  found->second = value.number;
  return Check(value);
}

// How many that were accepted nobody has seen.
int64_t Lost(Book& book) {
  int64_t accepted = 0;
  int64_t seen = 0;
  for (int producer = 0; producer < kProcesses; ++producer) {
    accepted += book.accepted[producer];
    for (uint32_t number = 0; number < book.next[producer]; ++number) {
      seen += book.Seen(producer, number);
    }
  }
  return accepted - seen;
}

// Has some put and some get, and kills them.
template <typename T>
void KillAndCount(const Queue<T>& queue, int kills) {
  const auto book = MakeBook();
  CrashMonkey monkey({.processes = kProcesses, .kills = kills});
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
    std::map<uint32_t, uint32_t> last;
    while (me.GoesOn()) {
      if (me.index() % 2 == 0) {
        MP_RETURN_IF_ERROR(PutNext(queue, me.index(), *book));
        continue;
      }
      const absl::Status status =
          GetNext(queue, absl::Milliseconds(200), last, *book);
      if (!absl::IsDeadlineExceeded(status)) MP_RETURN_IF_ERROR(status);
    }
    return absl::OkStatus();
  }),
              IsOk());
  std::map<uint32_t, uint32_t> last;
  absl::Status status;
  while (status.ok()) {
    status = GetNext(queue, absl::ZeroDuration(), last, *book);
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(queue.Size(), 0u);
  // Each that is killed in or after a Get() loses one at most.
  EXPECT_LE(Lost(*book), kills);
}

TEST(QueueMonkeyTest, ValuesAreWholeInOrderAndThere) {
  KillAndCount(Make<Numbered>({.maxsize = 8}), Scaled(120, 2000));
}

TEST(QueueMonkeyTest, ValuesInAQueueWithoutABound) {
  KillAndCount(Make<Numbered>(), Scaled(60, 1000));
}

TEST(QueueMonkeyTest, DescriptorsStayWithTheirValues) {
  KillAndCount(Make<NumberedFile>({.maxsize = 8}), Scaled(120, 2000));
}

}  // namespace
}  // namespace mp
