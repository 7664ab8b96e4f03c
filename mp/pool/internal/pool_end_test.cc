#include "mp/pool/internal/pool_end.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_end.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/parcel.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp::internal {
namespace {

using testing::IsOk;
using testing::LeakCheck;
using testing::Scaled;
using testing::StatusIs;

constexpr size_t kMebi = size_t{1} << 20;

// Both ends, in one process.
class PoolEndTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // What stays for the next connection is there already.
    ASSERT_THAT(Pipe(), IsOk());
    leak_check_ = std::make_unique<LeakCheck>();
    MakeEnds();
  }

  void MakeEnds() {
    auto ends = Pipe();
    ASSERT_THAT(ends, IsOk());
    auto memory = SharedMemory::Create(sizeof(WorkerMemory));
    ASSERT_THAT(memory, IsOk());
    memory_ = *memory;
    Fd bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    auto its_bell = bell.Dup();
    ASSERT_THAT(its_bell, IsOk());
    pool_ = std::make_unique<PoolEnd>(std::move(ends->first), *memory,
                                      std::move(bell));
    worker_ = std::make_unique<WorkerEnd>(std::move(ends->second), *memory,
                                          *std::move(its_bell));
  }

  WorkerMemory& memory() {
    return *reinterpret_cast<WorkerMemory*>(memory_.data().data());
  }

  absl::Status SayRun(uint64_t run, const Parcel& parcel) {
    ToWorker message;
    message.kind = ToWorker::Kind::kRun;
    message.run = run;
    return pool_->Say(std::move(message), parcel);
  }

  absl::Status SayDone(uint64_t item, Outcome outcome) {
    return worker_->Say(
        {FromWorker::Kind::kDone, {1, item}, std::move(outcome)});
  }

  bool BellRings(absl::Duration timeout) {
    const auto rings = WaitForFd(pool_->bell(), POLLIN, Deadline(timeout));
    return rings.ok() && *rings;
  }

  std::unique_ptr<LeakCheck> leak_check_;  // goes last
  SharedMemory memory_;
  std::unique_ptr<PoolEnd> pool_;
  std::unique_ptr<WorkerEnd> worker_;
};

// A parcel with a descriptor.
Parcel WithHandle(std::string bytes) {
  Parcel parcel{std::move(bytes), {}};
  parcel.handles.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return parcel;
}

TEST_F(PoolEndTest, KeepsTheOrderOfMessagesWhateverTheyGoBy) {
  ASSERT_THAT(SayRun(1, {"short", {}}), IsOk());
  ASSERT_THAT(SayRun(2, {std::string(3 * kMebi, 'x'), {}}), IsOk());
  ASSERT_THAT(SayRun(3, WithHandle("with a handle")), IsOk());
  ASSERT_THAT(SayRun(4, {std::string(kMaxInRing, 'y'), {}}), IsOk());
  ASSERT_THAT(SayRun(5, {}), IsOk());
  const size_t sizes[] = {5, 3 * kMebi, 13, kMaxInRing, 0};
  for (uint64_t run = 1; run <= 5; ++run) {
    auto message = worker_->Hear();
    ASSERT_THAT(message, IsOk());
    EXPECT_EQ(message->run, run);
    const auto parcel = worker_->TakeParcel(*message);
    ASSERT_THAT(parcel, IsOk());
    EXPECT_EQ(parcel->bytes.size(), sizes[run - 1]);
    EXPECT_EQ(parcel->handles.size(), run == 3 ? 1 : 0);
  }
}

TEST_F(PoolEndTest, KeepsTheOrderOfResultsWhateverTheyGoBy) {
  const std::string long_text(kMebi, 't');
  ASSERT_THAT(SayDone(0, Parcel{"short", {}}), IsOk());
  ASSERT_THAT(SayDone(1, Parcel{std::string(3 * kMebi, 'x'), {}}), IsOk());
  ASSERT_THAT(SayDone(2, WithHandle("with a handle")), IsOk());
  ASSERT_THAT(SayDone(3, absl::NotFoundError("why")), IsOk());
  ASSERT_THAT(SayDone(4, absl::NotFoundError(long_text)), IsOk());
  for (uint64_t item = 0; item < 5; ++item) {
    ASSERT_TRUE(pool_->HasMessage());
    const std::optional<FromWorker> message = pool_->Hear();
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->item.item, item);
    if (item == 1) {
      EXPECT_EQ(message->outcome->bytes.size(), 3 * kMebi);
    }
    if (item == 2) {
      EXPECT_EQ(message->outcome->handles.size(), 1);
    }
    if (item == 3) {
      EXPECT_THAT(message->outcome,
                  StatusIs(absl::StatusCode::kNotFound, "why"));
    }
    if (item == 4) {
      EXPECT_THAT(message->outcome,
                  StatusIs(absl::StatusCode::kNotFound, long_text));
    }
  }
  EXPECT_FALSE(pool_->HasMessage());
  EXPECT_EQ(pool_->Hear(), std::nullopt);
  EXPECT_FALSE(pool_->damaged());
}

TEST_F(PoolEndTest, RingsTheBellOnceForManyMessages) {
  ASSERT_THAT(SayDone(0, Parcel()), IsOk());
  EXPECT_FALSE(BellRings(absl::ZeroDuration())) << "nobody asked for it";
  EXPECT_TRUE(pool_->AskForBell()) << "there is a message";
  ASSERT_TRUE(pool_->Hear().has_value());
  pool_->AnswerBell(false);

  EXPECT_FALSE(pool_->AskForBell());
  for (int i = 0; i < 3; ++i) ASSERT_THAT(SayDone(0, Parcel()), IsOk());
  uint64_t rings = 0;
  ASSERT_EQ(read(pool_->bell(), &rings, sizeof(rings)), sizeof(rings));
  EXPECT_EQ(rings, 1);
}

TEST_F(PoolEndTest, WakesAWorkerThatSleeps) {
  std::thread worker([&] {
    for (uint64_t run = 1; run <= 2; ++run) {
      const auto message = worker_->Hear();
      ASSERT_THAT(message, IsOk());
      EXPECT_EQ(message->run, run);
    }
  });
  for (uint64_t run = 1; run <= 2; ++run) {
    while (memory().board.worker_sleeps == 0) std::this_thread::yield();
    ASSERT_THAT(SayRun(run, {}), IsOk());
  }
  worker.join();
}

TEST_F(PoolEndTest, AWorkerWaitsForRoomForItsResults) {
  const std::string result(30'000, 'r');
  std::thread worker([&] {
    for (uint64_t item = 0; item < 100; ++item) {
      ASSERT_THAT(SayDone(item, Parcel{result, {}}), IsOk());
    }
  });
  while (memory().board.worker_sleeps == 0) std::this_thread::yield();
  for (uint64_t item = 0; item < 100; ++item) {
    if (!pool_->AskForBell()) {
      ASSERT_TRUE(BellRings(absl::Minutes(1)));
    }
    pool_->AnswerBell(BellRings(absl::ZeroDuration()));
    std::optional<FromWorker> message = pool_->Hear();
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->item.item, item);
    EXPECT_EQ(message->outcome->bytes, result);
  }
  worker.join();
}

TEST_F(PoolEndTest, RingsTheBellWhenThereIsRoomForTasks) {
  const Parcel task = {std::string(30'000, 't'), {}};
  uint64_t said = 0;
  absl::Status status;
  while ((status = SayRun(said, task)).ok()) ++said;
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_FALSE(BellRings(absl::ZeroDuration()));
  for (uint64_t i = 0; i < said; ++i) ASSERT_THAT(worker_->Hear(), IsOk());
  EXPECT_TRUE(BellRings(absl::ZeroDuration()));
  EXPECT_THAT(SayRun(said, task), IsOk());
}

TEST_F(PoolEndTest, AWorkerSeesThatThePoolIsGone) {
  pool_.reset();
  EXPECT_THAT(worker_->Hear(), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(PoolEndTest, HearsOfAnyBytesToAnEnd) {
  std::minstd_rand random(13);
  for (int round = 0; round < Scaled(300, 10'000); ++round) {
    const uint64_t results = 1 + random() % 20;
    for (uint64_t item = 0; item < results; ++item) {
      ASSERT_THAT(random() % 2 == 0
                      ? SayDone(item, Parcel{std::string(item, 'x'), {}})
                      : SayDone(item, absl::NotFoundError("x")),
                  IsOk());
    }
    const uint64_t at = memory().board.results.taken;
    for (int i = 0; i < 8; ++i) {
      memory().results[(at + random() % 512) % WorkerMemory::kRingBytes] =
          static_cast<char>(random() % 256);
    }
    uint64_t heard = 0;
    while (pool_->Hear().has_value()) ASSERT_LE(++heard, 1000);
    if (!pool_->damaged()) continue;
    EXPECT_FALSE(pool_->HasMessage());
    pool_.reset();
    worker_.reset();
    MakeEnds();
  }
}

}  // namespace
}  // namespace mp::internal
