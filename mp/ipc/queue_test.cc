#include "mp/ipc/queue.h"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_codec.h"
#include "mp/ipc/internal/type_fingerprint.h"
#include "mp/ipc/joinable_queue.h"
#include "mp/ipc/pipe.h"
#include "mp/ipc/wait.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/fields.h"
#include "mp/process/parcel.h"
#include "mp/process/proto_serializer.h"
#include "mp/process/proto_serializer_test.pb.h"
#include "mp/process/serializer.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {

// Arrives as it is, unless it is 13.
struct Unlucky {
  int number = 0;
};

template <>
struct Serializer<Unlucky> {
  static void Encode(const Unlucky& unlucky, Encoder& encoder) {
    encoder.Write(unlucky.number);
  }
  static absl::StatusOr<Unlucky> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const int number, decoder.Read<int>());
    if (number == 13) return absl::DataLossError("13");
    return Unlucky{number};
  }
};

namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr absl::StatusCode kFullOrEmpty = absl::StatusCode::kDeadlineExceeded;
constexpr absl::StatusCode kClosed = absl::StatusCode::kFailedPrecondition;

template <typename T>
Queue<T> Make(const QueueOptions& options = {}) {
  absl::StatusOr<Queue<T>> queue = Queue<T>::Create(options);
  MP_CHECK_OK(queue.status());
  return *std::move(queue);
}

class QueueTest : public ::testing::Test {
 protected:
  // The arena that the first pipe brings about stays.
  QueueTest() : leak_check_((Pipe().IgnoreError(), absl::Seconds(10))) {}

 private:
  LeakCheck leak_check_;
};

// Puts a value, and returns what comes out.
template <typename T>
ReadResult<T> ThroughAQueue(const T& value) {
  const Queue<T> queue = Make<T>();
  MP_RETURN_IF_ERROR(queue.Put(value));
  return queue.Get();
}

// ---- Values

struct Dense {
  int64_t a = 0;
  std::array<float, 2> b = {};
  MP_FIELDS(a, b)
};
struct Sparse {
  char a = 0;
  int b = 0;
  MP_FIELDS(a, b)
};
struct Partial {
  int a = 0;
  int cache = 5;
  MP_FIELDS(a)
};

TEST_F(QueueTest, ValuesOfAnyTypeThatTravelsComeOutAsTheyWere) {
  EXPECT_THAT(ThroughAQueue(42), IsOkAndHolds(42));
  EXPECT_THAT(ThroughAQueue(true), IsOkAndHolds(true));
  EXPECT_THAT(ThroughAQueue(std::string("text")), IsOkAndHolds("text"));
  EXPECT_THAT(ThroughAQueue(std::u16string(u"text")), IsOkAndHolds(u"text"));
  EXPECT_THAT(ThroughAQueue(std::vector<double>{1.5, 2.5}),
              IsOkAndHolds(ElementsAre(1.5, 2.5)));
  EXPECT_THAT(ThroughAQueue(std::vector<bool>{true, false, true}),
              IsOkAndHolds(ElementsAre(true, false, true)));
  EXPECT_THAT(ThroughAQueue(std::vector<std::string>{"a", "b"}),
              IsOkAndHolds(ElementsAre("a", "b")));
  using Map = std::map<std::string, std::optional<int>>;
  const Map map = {{"one", 1}, {"none", std::nullopt}};
  EXPECT_THAT(ThroughAQueue(map), IsOkAndHolds(map));
  const absl::Status status = absl::NotFoundError("a status is a value, too");
  const auto got = ThroughAQueue(status);
  ASSERT_THAT(got, IsOk());
  EXPECT_EQ(got->status, status);
}

TEST_F(QueueTest, StructsArriveWithTheFieldsThatTheyDeclare) {
  static_assert(internal::FlatMessage<Dense>);
  static_assert(!internal::FlatMessage<Sparse>);
  static_assert(!internal::FlatMessage<Partial>);
  const auto dense = ThroughAQueue(Dense{.a = 7, .b = {1, 2}});
  ASSERT_THAT(dense, IsOk());
  EXPECT_EQ(std::tuple(dense->a, dense->b[1]), std::tuple(7, 2.0f));
  const auto sparse = ThroughAQueue(Sparse{.a = 'x', .b = 8});
  ASSERT_THAT(sparse, IsOk());
  EXPECT_EQ(std::tuple(sparse->a, sparse->b), std::tuple('x', 8));
  const auto partial = ThroughAQueue(Partial{.a = 1, .cache = 99});
  ASSERT_THAT(partial, IsOk());
  EXPECT_EQ(std::tuple(partial->a, partial->cache), std::tuple(1, 5));
}

TEST_F(QueueTest, ProtobufMessagesTravel) {
  testing::Node node;
  node.set_name("root");
  node.add_children()->set_name("leaf");
  const absl::StatusOr<testing::Node> got = ThroughAQueue(node);
  ASSERT_THAT(got, IsOk());
  EXPECT_EQ(got->children(0).name(), "leaf");
}

// What must not be copied as bytes.
static_assert(!internal::FlatMessage<bool>);
static_assert(!internal::FlatMessage<void (*)()>);
static_assert(!internal::FlatMessage<std::array<bool, 2>>);
static_assert(!internal::FlatMessage<std::vector<bool>>);
static_assert(!internal::FlatMessage<std::vector<std::string>>);

TEST_F(QueueTest, MessagesHaveAnySize) {
  const Queue<std::string> queue = Make<std::string>();
  for (const size_t size : {0, 1, 7, 8, 9, 4096, 65535, 65536, 1 << 20, 0}) {
    ASSERT_THAT(queue.Put(std::string(size, 'x')), IsOk());
  }
  for (const size_t size : {0, 1, 7, 8, 9, 4096, 65535, 65536, 1 << 20, 0}) {
    const absl::StatusOr<std::string> text = queue.Get();
    ASSERT_THAT(text, IsOk());
    EXPECT_THAT(*text, SizeIs(size));
  }
}

TEST_F(QueueTest, HundredMebibytesTravelAndTheirMemoryGoesBack) {
  const Queue<std::string> queue = Make<std::string>();
  std::string text(100 << 20, 'x');
  text.front() = 'a';
  text.back() = 'z';
  Child child = RunInChild([&] { return queue.Put(text); });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  std::string got;
  ASSERT_THAT(queue.GetInto(got, kLong), IsOk());
  EXPECT_TRUE(got == text);
}

TEST_F(QueueTest, ValueThatCannotBeDecodedIsGoneAndTheNextIsServed) {
  const Queue<Unlucky> queue = Make<Unlucky>();
  for (const int number : {12, 13, 14}) {
    ASSERT_THAT(queue.Put(Unlucky{number}), IsOk());
  }
  EXPECT_EQ(queue.Get()->number, 12);
  EXPECT_THAT(queue.Get(), StatusIs(absl::StatusCode::kDataLoss, "13"));
  EXPECT_EQ(queue.Get()->number, 14);
  EXPECT_TRUE(queue.Empty());
}

// ---- Order and bounds

TEST_F(QueueTest, FirstInIsFirstOut) {
  const Queue<int> queue = Make<int>();
  for (int i = 0; i < 20000; ++i) ASSERT_THAT(queue.Put(i), IsOk());
  EXPECT_EQ(queue.Size(), 20000u);
  for (int i = 0; i < 20000; ++i) ASSERT_THAT(queue.Get(), IsOkAndHolds(i));
}

TEST_F(QueueTest, BytesAreBounded) {
  const Queue<std::string> queue = Make<std::string>({.max_bytes = 65536});
  EXPECT_THAT(queue.Put(std::string(1 << 20, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("65536")));
  int put = 0;
  while (queue.PutNowait(std::string(1000, 'x')).ok()) {
    ASSERT_LE(++put, 66);
  }
  EXPECT_GE(put, 30);
  ASSERT_THAT(queue.Get(), IsOk());
  EXPECT_THAT(queue.PutNowait("x"), IsOk());
}

TEST_F(QueueTest, WaitingPutGoesOnWhenThereIsRoom) {
  const Queue<int> queue = Make<int>({.maxsize = 1});
  ASSERT_THAT(queue.Put(1), IsOk());
  Child child = RunInChild([&] { return queue.Put(2, kLong); });
  EXPECT_THAT(queue.Get(), IsOkAndHolds(1));
  EXPECT_THAT(queue.Get(kLong), IsOkAndHolds(2));
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// ---- Several at once

TEST_F(QueueTest, ManyArePutAtOnceAndTaken) {
  const Queue<int> queue = Make<int>();
  const std::vector<int> values = {1, 2, 3, 4, 5};
  EXPECT_THAT(queue.PutAll(values), IsOkAndHolds(5u));
  EXPECT_THAT(queue.GetUpTo(3), IsOkAndHolds(ElementsAre(1, 2, 3)));
  EXPECT_THAT(queue.GetUpTo(100), IsOkAndHolds(ElementsAre(4, 5)));
  EXPECT_THAT(queue.GetUpTo(100, absl::ZeroDuration()), StatusIs(kFullOrEmpty));
  EXPECT_THAT(queue.GetUpTo(0), IsOkAndHolds(IsEmpty()));
}

TEST_F(QueueTest, PutAllSaysHowManyFitted) {
  const Queue<int> queue = Make<int>({.maxsize = 3});
  const std::vector<int> values = {1, 2, 3, 4, 5};
  EXPECT_THAT(queue.PutAll(values, absl::ZeroDuration()), IsOkAndHolds(3u));
  EXPECT_THAT(queue.PutAll(values, absl::ZeroDuration()),
              StatusIs(kFullOrEmpty));
  EXPECT_THAT(queue.GetUpTo(100), IsOkAndHolds(ElementsAre(1, 2, 3)));
}

TEST_F(QueueTest, EncodedValuesGoInNumbersToo) {
  const Queue<std::vector<std::string>> queue =
      Make<std::vector<std::string>>({.maxsize = 2});
  const std::vector<std::vector<std::string>> values = {{"a"}, {}, {"b", "c"}};
  EXPECT_THAT(queue.PutAll(values, absl::ZeroDuration()), IsOkAndHolds(2u));
  EXPECT_THAT(queue.GetUpTo(9),
              IsOkAndHolds(ElementsAre(ElementsAre("a"), IsEmpty())));
}

TEST_F(QueueTest, GetUpToLeavesOutWhatCannotBeDecoded) {
  const Queue<Unlucky> queue = Make<Unlucky>();
  for (const int number : {13, 1, 13, 2}) {
    ASSERT_THAT(queue.Put(Unlucky{number}), IsOk());
  }
  EXPECT_THAT(queue.GetUpTo(9), StatusIs(absl::StatusCode::kDataLoss, "13"));
  const absl::StatusOr<std::vector<Unlucky>> rest = queue.GetUpTo(9);
  ASSERT_THAT(rest, IsOk());
  ASSERT_THAT(*rest, SizeIs(2));
  EXPECT_EQ((*rest)[1].number, 2);
}

// ---- In place

TEST_F(QueueTest, BytesAreWrittenInPlace) {
  const Queue<std::string> queue = Make<std::string>();
  {
    absl::StatusOr<Queue<std::string>::Reservation> place = queue.Reserve(5);
    ASSERT_THAT(place, IsOk());
    ASSERT_EQ(place->bytes().size(), 5u);
    std::string("hello").copy(place->bytes().data(), 5);
    EXPECT_TRUE(queue.Empty());
    ASSERT_THAT(place->Commit(), IsOk());
  }
  EXPECT_THAT(queue.Get(), IsOkAndHolds("hello"));
}

TEST_F(QueueTest, ReservationIsCutShortOrDropped) {
  const Queue<std::string> queue = Make<std::string>();
  {
    absl::StatusOr<Queue<std::string>::Reservation> place = queue.Reserve(100);
    ASSERT_THAT(place, IsOk());
    std::string("short").copy(place->bytes().data(), 5);
    EXPECT_THAT(place->Commit(101),
                StatusIs(absl::StatusCode::kInvalidArgument));
    ASSERT_THAT(place->Commit(5), IsOk());
    EXPECT_THAT(place->Commit(5), StatusIs(kClosed));
  }
  ASSERT_THAT(queue.Reserve(100).status(), IsOk());  // and dropped
  ASSERT_THAT(queue.Put("next"), IsOk());
  EXPECT_THAT(queue.Get(), IsOkAndHolds("short"));
  EXPECT_THAT(queue.Get(), IsOkAndHolds("next"));
  EXPECT_TRUE(queue.Empty());
}

TEST_F(QueueTest, GetIntoUsesMemoryAgain) {
  const Queue<std::string> queue = Make<std::string>();
  std::string text;
  text.reserve(1000);
  const char* const memory = text.data();
  for (const char* word : {"one", "two"}) {
    ASSERT_THAT(queue.Put(std::string(word) + std::string(900, '.')), IsOk());
    ASSERT_THAT(queue.GetInto(text), IsOk());
    EXPECT_EQ(text.substr(0, 3), word);
    EXPECT_EQ(text.data(), memory);
  }
}

// ---- The end

TEST_F(QueueTest, ClosedHandleLeavesOthersOpen) {
  Queue<int> queue = Make<int>();
  const Queue<int> other = queue;
  EXPECT_EQ(queue, other);
  ASSERT_THAT(queue.Put(1), IsOk());
  queue.Close();
  EXPECT_TRUE(queue.closed());
  EXPECT_THAT(queue.Put(2), StatusIs(kClosed, HasSubstr("Queue::Put")));
  EXPECT_THAT(queue.Get(), StatusIs(kClosed, HasSubstr("Queue::Get")));
  EXPECT_THAT(queue.GetUpTo(1), StatusIs(kClosed));
  EXPECT_THAT(queue.PutAll({}), StatusIs(kClosed));
  EXPECT_THAT(queue.Shutdown(), StatusIs(kClosed));
  EXPECT_EQ(queue.fileno(), -1);
  EXPECT_TRUE(queue.Empty());
  EXPECT_FALSE(queue.Full());
  EXPECT_THAT(other.Get(), IsOkAndHolds(1));
}

TEST_F(QueueTest, ShutdownLetsTheRestBeTaken) {
  const Queue<int> queue = Make<int>();
  ASSERT_THAT(queue.PutAll({{1, 2}}), IsOk());
  ASSERT_THAT(queue.Shutdown(), IsOk());
  EXPECT_TRUE(queue.is_shut_down());
  EXPECT_THAT(queue.Put(3), StatusIs(kClosed, HasSubstr("shut down")));
  EXPECT_THAT(queue.Get(), IsOkAndHolds(1));
  EXPECT_THAT(queue.Get(), IsOkAndHolds(2));
  EXPECT_THAT(queue.Get(), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(queue.Shutdown(), IsOk());
}

TEST_F(QueueTest, ImmediateShutdownEmptiesIt) {
  const Queue<int> queue = Make<int>();
  ASSERT_THAT(queue.PutAll({{1, 2}}), IsOk());
  ASSERT_THAT(queue.Shutdown(/*immediate=*/true), IsOk());
  EXPECT_THAT(queue.Get(), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_TRUE(queue.Empty());
}

TEST_F(QueueTest, ShutdownEndsWaits) {
  const Queue<int> empty = Make<int>();
  const Queue<int> full = Make<int>({.maxsize = 1});
  ASSERT_THAT(full.Put(1), IsOk());
  Child getter = RunInChild([&] {
    return absl::IsOutOfRange(empty.Get().status())
               ? absl::OkStatus()
               : absl::InternalError("another status");
  });
  Child putter = RunInChild([&] {
    return absl::IsFailedPrecondition(full.Put(2))
               ? absl::OkStatus()
               : absl::InternalError("another status");
  });
  ASSERT_THAT(empty.Shutdown(), IsOk());
  ASSERT_THAT(full.Shutdown(), IsOk());
  EXPECT_THAT(getter.Wait(), ExitedWith(0));
  EXPECT_THAT(putter.Wait(), ExitedWith(0));
}

// ---- Travel

TEST_F(QueueTest, ReachesARunningProcessInAMessage) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    MP_ASSIGN_OR_RETURN(auto queue, ends->second.Recv<Queue<int>>(kLong));
    return queue.Put(42);
  });
  const Queue<int> queue = Make<int>();
  ASSERT_THAT(ends->first.Send(queue), IsOk());
  EXPECT_THAT(queue.Get(kLong), IsOkAndHolds(42));
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(QueueTest, OfAnotherTypeIsNotReceived) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  Queue<int> closed;
  EXPECT_THAT(ends->first.Send(closed), StatusIs(kClosed));
  const auto receive_as = [&]<typename As>(const auto& queue, As*) {
    Encoder encoder;
    encoder.Write(queue);
    absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
    MP_CHECK_OK(parcel.status());
    Decoder decoder(*std::move(parcel));
    return decoder.Read<As>().status();
  };
  const Queue<int> queue = Make<int>();
  Queue<int>* const same = nullptr;
  Queue<std::string>* const other = nullptr;
  JoinableQueue<int>* const joinable = nullptr;
  EXPECT_THAT(receive_as(queue, same), IsOk());
  EXPECT_THAT(receive_as(queue, other),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("another type than mp::Queue<std::")));
  EXPECT_THAT(receive_as(queue, joinable),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(QueueTest, WhatIsNoQueueIsNotReceived) {
  Encoder encoder;
  encoder.Write(internal::TypeFingerprint<Queue<int>>());
  encoder.WriteHandle(STDERR_FILENO);
  encoder.Write(false);  // no event
  encoder.Write(false);  // no socket
  absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
  ASSERT_THAT(parcel, IsOk());
  Decoder decoder(*std::move(parcel));
  EXPECT_THAT(decoder.Read<Queue<int>>(),
              StatusIs(absl::StatusCode::kDataLoss));
}

// ---- Waiting

TEST_F(QueueTest, DescriptorPollsAsReadableWhileThereIsSomething) {
  const Queue<int> queue = Make<int>();
  const int fd = queue.fileno();
  ASSERT_GE(fd, 0);
  const auto readable = [&](int timeout_ms) {
    pollfd entry = {fd, POLLIN, 0};
    return poll(&entry, 1, timeout_ms) == 1;
  };
  EXPECT_FALSE(readable(0));
  EXPECT_FALSE(queue.IsReadable());
  Child child = RunInChild([&] { return queue.Put(1); });
  EXPECT_TRUE(readable(60'000));
  EXPECT_TRUE(queue.IsReadable());
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(queue.Get(), IsOkAndHolds(1));
  EXPECT_FALSE(readable(0));
  EXPECT_FALSE(queue.IsReadable());
  ASSERT_THAT(queue.Shutdown(), IsOk());
  EXPECT_TRUE(readable(60'000));
  EXPECT_TRUE(queue.IsReadable());
}

TEST_F(QueueTest, WaitSaysWhichQueueHasSomething) {
  const Queue<int> first = Make<int>();
  const Queue<std::string> second = Make<std::string>();
  EXPECT_THAT(Wait({first, second}, absl::ZeroDuration()),
              IsOkAndHolds(IsEmpty()));
  Child child = RunInChild([&] { return second.Put("something"); });
  EXPECT_THAT(Wait({first, second}, kLong), IsOkAndHolds(ElementsAre(1)));
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  ASSERT_THAT(first.Shutdown(), IsOk());
  EXPECT_THAT(Wait({first, second}, kLong), IsOkAndHolds(ElementsAre(0, 1)));
}

absl::Duration CpuTime() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) +
         absl::DurationFromTimeval(usage.ru_stime);
}

TEST_F(QueueTest, WaitingTakesNoProcessorTime) {
  const Queue<int> queue = Make<int>();
  Child child = RunInChild([&]() -> absl::Status {
    const absl::Duration before = CpuTime();
    const absl::Time begin = absl::Now();
    const absl::Status status = queue.Get(absl::Seconds(1)).status();
    const absl::Duration used = CpuTime() - before;
    const absl::Duration passed = absl::Now() - begin;
    if (!absl::IsDeadlineExceeded(status)) return status;
    // A spin would take all of it.
    return used < passed / 4 ? absl::OkStatus()
                             : absl::InternalError(absl::FormatDuration(used));
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// ---- Threads

TEST_F(QueueTest, ServesManyThreads) {
  const Queue<int> queue = Make<int>({.maxsize = 4});
  constexpr int kEach = 2000;
  std::vector<std::thread> producers;
  std::vector<std::thread> consumers;
  std::vector<int64_t> sums(3);
  for (int i = 0; i < 3; ++i) {
    producers.emplace_back([&] {
      for (int n = 1; n <= kEach; ++n) MP_CHECK_OK(queue.Put(n, kLong));
    });
    consumers.emplace_back([&, i] {
      while (true) {
        const absl::StatusOr<int> n = queue.Get(kLong);
        if (absl::IsOutOfRange(n.status())) return;
        MP_CHECK_OK(n.status());
        sums[i] += *n;
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  ASSERT_THAT(queue.Shutdown(), IsOk());
  for (std::thread& consumer : consumers) consumer.join();
  EXPECT_EQ(sums[0] + sums[1] + sums[2], int64_t{3} * kEach * (kEach + 1) / 2);
}

}  // namespace
}  // namespace mp
