// Values with descriptors in queues: connections, locks, blocks and queues.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/queue_core.h"
#include "mp/ipc/internal/queue_descriptors.h"
#include "mp/ipc/pipe.h"
#include "mp/ipc/queue.h"
#include "mp/process/fields.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/process/serializer.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/sync/lock.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::StartMethodTest;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr absl::StatusCode kFullOrEmpty = absl::StatusCode::kDeadlineExceeded;

template <typename T>
Queue<T> Make(const QueueOptions& options = {}) {
  absl::StatusOr<Queue<T>> queue = Queue<T>::Create(options);
  MP_CHECK_OK(queue.status());
  return *std::move(queue);
}

// ---- What travels, to processes of each start method

class QueueHandlesTest : public StartMethodTest {
 protected:
  QueueHandlesTest() {
    Run([] {});                            // a fork server may start, and stays
    MP_CHECK_OK(Lock::Create().status());  // so does the default arena
    leak_check_.emplace();
  }

 private:
  std::optional<LeakCheck> leak_check_;
};
MP_INSTANTIATE_TEST_SUITE(QueueHandlesTest, AllStartMethods);

absl::Status AnswerOnWhatComes(Queue<Connection> queue) {
  MP_ASSIGN_OR_RETURN(Connection connection, queue.Get(kLong));
  return connection.Send("through a queue");
}

TEST_P(QueueHandlesTest, ConnectionReachesARunningProcess) {
  const auto connections = Make<Connection>();
  Process child(options(), AnswerOnWhatComes, connections);
  ASSERT_THAT(child.Start(), IsOk());
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  ASSERT_THAT(connections.Put(ends->second), IsOk());
  ends->second.Close();
  EXPECT_THAT(ends->first.Recv<std::string>(kLong),
              IsOkAndHolds("through a queue"));
  ASSERT_THAT(child.Join(kLong), IsOk());
  // No descriptor of it is left on the way.
  EXPECT_THAT(ends->first.Recv<std::string>(kLong),
              StatusIs(absl::StatusCode::kOutOfRange));
}

absl::Status AnswerInWhatComes(Queue<Queue<int>> queues) {
  MP_ASSIGN_OR_RETURN(const auto queue, queues.Get(kLong));
  return queue.Put(42);
}

TEST_P(QueueHandlesTest, QueueTravelsInAQueue) {
  const auto queues = Make<Queue<int>>();
  const auto queue = Make<int>();
  Process child(options(), AnswerInWhatComes, queues);
  ASSERT_THAT(child.Start(), IsOk());
  ASSERT_THAT(queues.Put(queue), IsOk());
  EXPECT_THAT(queue.Get(kLong), IsOkAndHolds(42));
  ASSERT_THAT(child.Join(kLong), IsOk());
}

struct LockAndBlock {
  Lock lock;
  SharedMemory block;
  MP_FIELDS(lock, block)
};

absl::Status WriteUnderLock(Queue<LockAndBlock> queue) {
  MP_ASSIGN_OR_RETURN(LockAndBlock both, queue.Get(kLong));
  MP_ASSIGN_OR_RETURN(LockGuard guard, LockGuard::Take(both.lock, kLong));
  both.block.data()[0] = 'x';
  return absl::OkStatus();
}

TEST_P(QueueHandlesTest, LocksAndSharedMemoryTravel) {
  const auto queue = Make<LockAndBlock>();
  absl::StatusOr<Lock> lock = Lock::Create();
  absl::StatusOr<SharedMemory> block = SharedMemory::Create(100);
  ASSERT_THAT(lock, IsOk());
  ASSERT_THAT(block, IsOk());
  ASSERT_THAT(queue.Put({*lock, *block}), IsOk());
  EXPECT_EQ(Run(WriteUnderLock, queue), 0);
  EXPECT_EQ(block->view()[0], 'x');
}

// ---- Counts and limits

std::vector<Fd> Nulls(size_t count) {
  std::vector<Fd> fds;
  while (fds.size() < count) {
    fds.push_back(Fd(open("/dev/null", O_RDWR | O_CLOEXEC)));
    if (!fds.back().is_open()) MP_CHECK_OK(absl::ResourceExhaustedError("fd"));
  }
  return fds;
}

bool IsNull(const Fd& fd) {
  struct stat null;
  struct stat info;
  return stat("/dev/null", &null) == 0 && fstat(fd.get(), &info) == 0 &&
         null.st_rdev == info.st_rdev;
}

class QueueDescriptorsTest : public ::testing::Test {
 protected:
  // The arena that the first pipe brings about stays.
  QueueDescriptorsTest()
      : leak_check_((Pipe().IgnoreError(), absl::Seconds(10))) {}

 private:
  LeakCheck leak_check_;
};

TEST_F(QueueDescriptorsTest, AnyNumberTravels) {
  const auto queue = Make<std::vector<Fd>>();
  for (const size_t count : {0, 1, 252, 253, 254, 300}) {
    ASSERT_THAT(queue.Put(Nulls(count)), IsOk());
    const absl::StatusOr<std::vector<Fd>> fds = queue.Get();
    ASSERT_THAT(fds, IsOk());
    ASSERT_THAT(*fds, SizeIs(count));
    for (const Fd& fd : *fds) EXPECT_TRUE(IsNull(fd));
  }
}

TEST_F(QueueDescriptorsTest, MessagesWithAndWithoutThemKeepTheirOrder) {
  const auto queue = Make<std::optional<Fd>>();
  for (int i = 0; i < 50; ++i) {
    std::optional<Fd> value;
    if (i % 3 == 0) value = std::move(Nulls(1)[0]);
    ASSERT_THAT(queue.Put(value), IsOk());
  }
  for (int i = 0; i < 50; ++i) {
    const absl::StatusOr<std::optional<Fd>> value = queue.Get();
    ASSERT_THAT(value, IsOk());
    ASSERT_EQ(value->has_value(), i % 3 == 0);
    if (value->has_value()) {
      EXPECT_TRUE(IsNull(**value));
    }
  }
}

TEST_F(QueueDescriptorsTest, FullSocketIsAFullQueue) {
  const auto queue = Make<Fd>();
  const Fd null = std::move(Nulls(1)[0]);
  int put = 0;
  absl::Status status;
  while (status.ok() && put < 100'000) {
    status = queue.PutNowait(null);
    if (status.ok()) ++put;
  }
  EXPECT_THAT(status, StatusIs(kFullOrEmpty, HasSubstr("descriptors")));
  EXPECT_GE(put, 50);
  // Somebody who waits goes on when there is room.
  Child child = RunInChild([&] { return queue.Put(null, kLong); });
  for (int i = 0; i < put + 1; ++i) {
    const absl::StatusOr<Fd> fd = queue.Get(kLong);
    ASSERT_THAT(fd, IsOk());
    EXPECT_TRUE(IsNull(*fd));
  }
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(QueueDescriptorsTest, MessageStaysWhileThereIsNoRoomForItsDescriptors) {
  const auto queue = Make<std::vector<Fd>>();
  ASSERT_THAT(queue.Put(Nulls(20)), IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    rlimit old;
    getrlimit(RLIMIT_NOFILE, &old);
    const rlimit low = {static_cast<rlim_t>(Nulls(1)[0].get() + 10),
                        old.rlim_max};
    setrlimit(RLIMIT_NOFILE, &low);
    const absl::Status status = queue.Get().status();
    setrlimit(RLIMIT_NOFILE, &old);
    if (!absl::IsResourceExhausted(status)) return status;
    MP_ASSIGN_OR_RETURN(const std::vector<Fd> fds, queue.Get());
    return fds.size() == 20 ? absl::OkStatus() : absl::InternalError("fewer");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

struct Ring {
  std::optional<Queue<Ring>> queue;
  std::optional<Connection> connection;
  MP_FIELDS(queue, connection)
};

TEST_F(QueueDescriptorsTest, QueueThatLiesInItselfGoesWithItsHandles) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  {
    Ring ring;
    ring.queue = Make<Ring>();
    ring.connection = std::move(ends->second);
    ASSERT_THAT(ring.queue->Put(ring), IsOk());
  }
  // The kernel looks for such rings when some Unix socket is closed.
  const Deadline deadline(kLong);
  absl::Status status = absl::DeadlineExceededError("");
  while (absl::IsDeadlineExceeded(status) && !deadline.Expired()) {
    MP_CHECK_OK(CreateSocketPair().status());
    status = ends->first.Recv<std::string>(absl::Milliseconds(20)).status();
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(QueueDescriptorsTest, WhatLiesInAQueueGoesWithItsLastHandle) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  Queue<Connection> queue = Make<Connection>();
  ASSERT_THAT(queue.Put(ends->second), IsOk());
  ends->second.Close();
  queue.Close();
  EXPECT_THAT(ends->first.Recv<std::string>(kLong),
              StatusIs(absl::StatusCode::kOutOfRange));
}

// ---- Deaths between the steps, as they leave the queue

// What a process has done of a Put() or Get() of one descriptor.
class Steps {
 public:
  explicit Steps(const Queue<Fd>& queue) {
    Encoder encoder;
    encoder.Write(queue);
    absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
    MP_CHECK_OK(parcel.status());
    std::vector<Fd>& fds = parcel->handles;
    auto core =
        internal::QueueCore::Attach(std::move(fds[0]), std::move(fds[1]));
    MP_CHECK_OK(core.status());
    core_ = *std::move(core);
    descriptors_.emplace(std::move(fds[2]), std::move(fds[3]));
  }

  // A Put() up to before it publishes.
  void Send() {
    auto place = core_->Reserve(40, Deadline(kLong));
    MP_CHECK_OK(place.status());
    auto label = internal::NewDescriptorsLabel(core_->published(), 1);
    MP_CHECK_OK(label.status());
    MP_CHECK_OK(descriptors_->TrySend(*label, Nulls(1)).status());
  }

  // A Get() up to before it frees.
  void Receive() {
    const absl::Status status =
        core_->Get(Deadline(kLong), [&](absl::string_view bytes, uint32_t) {
          internal::DescriptorsLabel label;
          bytes.copy(reinterpret_cast<char*>(&label), sizeof(label));
          MP_CHECK_OK(descriptors_->Receive(label).status());
          return absl::CancelledError();
        });
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  }

 private:
  std::shared_ptr<internal::QueueCore> core_;
  std::optional<internal::QueueDescriptors> descriptors_;
};

TEST_F(QueueDescriptorsTest, ThoseOfAProducerThatDiedAreDropped) {
  const auto queue = Make<Fd>();
  for (int i = 0; i < 3; ++i) {
    Steps(queue).Send();
    ASSERT_THAT(queue.Put(Nulls(1)[0]), IsOk());
  }
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<Fd> fd = queue.GetNowait();
    ASSERT_THAT(fd, IsOk());
    EXPECT_TRUE(IsNull(*fd));
  }
  EXPECT_TRUE(queue.Empty());
}

TEST_F(QueueDescriptorsTest, ThoseOfManyProducersThatDiedDoNotFillIt) {
  const auto queue = Make<Fd>();
  Steps steps(queue);
  // Enough to fill the socket, whatever its size.
  for (int i = 0; i < 2000; ++i) steps.Send();
  ASSERT_THAT(queue.Put(Nulls(1)[0], kLong), IsOk());
  // Behind a message that is still there.
  for (int i = 0; i < 2000; ++i) steps.Send();
  ASSERT_THAT(queue.Get(kLong), IsOk());
  ASSERT_THAT(queue.Put(Nulls(1)[0], kLong), IsOk());
  ASSERT_THAT(queue.Get(kLong), IsOk());
}

TEST_F(QueueDescriptorsTest, MessageThatADeadConsumerHadTakenIsPassedOver) {
  const auto queue = Make<Fd>();
  for (int i = 0; i < 2; ++i) ASSERT_THAT(queue.Put(Nulls(1)[0]), IsOk());
  Steps(queue).Receive();
  EXPECT_EQ(queue.Size(), 2u);
  ASSERT_THAT(queue.GetNowait(), IsOk());
  EXPECT_THAT(queue.GetNowait(), StatusIs(kFullOrEmpty));

  ASSERT_THAT(queue.Put(Nulls(1)[0]), IsOk());
  Steps(queue).Receive();
  EXPECT_THAT(queue.GetNowait(), StatusIs(kFullOrEmpty));
  ASSERT_THAT(queue.Put(Nulls(1)[0]), IsOk());
  EXPECT_THAT(queue.GetNowait(), IsOk());
}

// ---- Hostile handles

TEST_F(QueueDescriptorsTest, SocketThatIsNoneIsDataLoss) {
  const auto queue = Make<Fd>();
  ASSERT_THAT(queue.Put(Nulls(1)[0]), IsOk());
  Encoder encoder;
  encoder.Write(queue);
  absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
  ASSERT_THAT(parcel, IsOk());
  parcel->handles[2] = std::move(Nulls(1)[0]);
  parcel->handles[3] = std::move(Nulls(1)[0]);
  Decoder decoder(*std::move(parcel));
  const absl::StatusOr<Queue<Fd>> received = decoder.Read<Queue<Fd>>();
  if (!received.ok()) {
    EXPECT_THAT(received, StatusIs(absl::StatusCode::kDataLoss));
    return;
  }
  EXPECT_THAT(received->Get(kLong), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(received->Put(Nulls(1)[0]), ::testing::Not(IsOk()));
}

}  // namespace
}  // namespace mp
