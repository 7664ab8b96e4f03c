#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_core.h"
#include "mp/ipc/internal/queue_test_util.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

// Processes put and get as they like, and write down when. What they have
// written must be something that a queue could have done.

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using testing::RunInChild;
using testing::Scaled;

constexpr int kSides = 3;  // as many that put, and as many that get
constexpr uint64_t kMost = 200000;

// When one Put() began and ended, by a clock that all share.
struct Interval {
  std::atomic<uint64_t> begin;
  std::atomic<uint64_t> end;
};

struct History {
  std::atomic<uint64_t> clock;
  Interval puts[kSides * kMost];
  // By the number of the message in the queue: which Put() it was of.
  std::atomic<uint64_t> order[kSides * kMost];
  std::atomic<uint64_t> largest_size;
};

class QueueHistoryTest : public ::testing::Test {
 protected:
  QueueHistoryTest() : history_(MakeShared<History>()) {}

  absl::Status Putter(QueueCore& queue, uint64_t first) {
    for (uint64_t i = 0; i < each_; ++i) {
      Interval& put = history_.puts[first + i];
      put.begin = ++history_.clock;
      MP_RETURN_IF_ERROR(PutValue(queue, first + i));
      put.end = ++history_.clock;
    }
    return absl::OkStatus();
  }

  absl::Status Getter(QueueCore& queue) {
    for (uint64_t i = 0; i < each_; ++i) {
      MP_RETURN_IF_ERROR(queue.Get(Long(), [&](absl::string_view bytes,
                                               uint32_t) {
        uint64_t which;
        std::memcpy(&which, bytes.data(), sizeof(which));
        // Nobody else takes now, so this many are in it at least.
        const uint64_t number = queue.taken();
        const uint64_t size = queue.published() - number;
        history_.order[number] = which;
        uint64_t largest = history_.largest_size;
        while (size > largest &&
               !history_.largest_size.compare_exchange_weak(largest, size)) {
        }
        return absl::OkStatus();
      }));
    }
    return absl::OkStatus();
  }

  void Run(const QueueOptions& options) {
    auto queue = MakeQueue(options);
    std::vector<Child> children;
    for (int i = 0; i < kSides; ++i) {
      children.push_back(RunInChild([&] { return Putter(*queue, i * each_); }));
      children.push_back(RunInChild([&] { return Getter(*queue); }));
    }
    for (Child& child : children) EXPECT_THAT(child.Wait(), ExitedWith(0));
    EXPECT_TRUE(queue->Empty());
  }

  // None comes out behind one whose Put() began after its own had ended.
  void ExpectFirstInFirstOut() {
    std::vector<bool> seen(kSides * each_);
    uint64_t latest_begin = 0;
    for (uint64_t number = 0; number < kSides * each_; ++number) {
      const uint64_t which = history_.order[number];
      ASSERT_FALSE(seen[which]) << which << " came twice";
      seen[which] = true;
      const Interval& put = history_.puts[which];
      ASSERT_LT(latest_begin, put.end) << "message " << number;
      latest_begin = std::max(latest_begin, put.begin.load());
    }
  }

  const uint64_t each_ = Scaled(10000, kMost);
  History& history_;
};

TEST_F(QueueHistoryTest, WhatIsPutFirstComesOutFirst) {
  Run({});
  ExpectFirstInFirstOut();
}

TEST_F(QueueHistoryTest, ItNeverHoldsMoreThanMaxsize) {
  Run({.maxsize = 7});
  ExpectFirstInFirstOut();
  EXPECT_EQ(history_.largest_size, 7u);
}

}  // namespace
}  // namespace mp::internal
