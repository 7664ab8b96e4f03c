#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_core.h"
#include "mp/ipc/internal/queue_test_util.h"
#include "mp/testing/crash_monkey.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

// Processes that put and get are killed at random, and what becomes of each
// message is written down: none comes out twice, and none is missing but those
// that the killed had in their hands.

namespace mp::internal {
namespace {

using testing::CrashMonkey;
using testing::IsOk;
using testing::LeakCheck;
using testing::MonkeyMember;
using testing::Scaled;

constexpr int kProcesses = 8;
constexpr uint64_t kPerWriter = 1 << 20;

// What has become of one message.
struct Fate {
  std::atomic<uint8_t> put;    // its Put() said OK
  std::atomic<uint8_t> taken;  // a Get() began to take it
  std::atomic<uint8_t> got;    // how many have said OK
};

struct Audit {
  std::atomic<uint64_t> begun[kProcesses];
  Fate fates[kProcesses * kPerWriter];
};

class QueueCoreMonkeyTest : public ::testing::Test {
 protected:
  QueueCoreMonkeyTest() : audit_(MakeShared<Audit>()) {}

  struct Message {
    uint64_t id;
    uint64_t size;
  };

  // A message that is like no other, and says so to its last byte.
  std::string New(int writer, size_t most) {
    const uint64_t number = audit_.begun[writer]++;
    const Message message = {writer * kPerWriter + number,
                             sizeof(Message) + Random(most)};
    std::string text(message.size, static_cast<char>(message.id));
    std::memcpy(text.data(), &message, sizeof(message));
    return text;
  }

  static uint64_t IdOf(absl::string_view text) {
    uint64_t id;
    std::memcpy(&id, text.data(), sizeof(id));
    return id;
  }

  absl::StatusOr<uint64_t> Check(absl::string_view text) {
    Message message;
    if (text.size() < sizeof(message)) {
      return absl::InternalError("a message that nobody has put");
    }
    std::memcpy(&message, text.data(), sizeof(message));
    const auto is_its = [&](char c) {
      return c == static_cast<char>(message.id);
    };
    if (message.size != text.size() ||
        !std::all_of(text.begin() + sizeof(message), text.end(), is_its) ||
        message.id % kPerWriter >= audit_.begun[message.id / kPerWriter]) {
      return absl::InternalError("a message that nobody has put");
    }
    return message.id;
  }

  uint64_t Random(uint64_t below) {
    static std::mt19937_64 random(std::random_device{}());
    return below == 0 ? 0 : random() % below;
  }

  absl::Status PutOne(int writer) {
    const std::string text = New(writer, Random(20) == 0 ? kLarge : 100);
    if (Random(3) == 0) {
      MP_ASSIGN_OR_RETURN(auto place, queue_->Reserve(text.size(), Ever()));
      std::memcpy(place.bytes().data(), text.data(), text.size());
      MP_RETURN_IF_ERROR(place.Commit());
    } else {
      MP_RETURN_IF_ERROR(PutText(*queue_, text, Ever()));
    }
    audit_.fates[IdOf(text)].put = 1;
    return absl::OkStatus();
  }

  absl::Status PutSome(int writer) {
    std::vector<std::string> texts;
    for (int i = 0; i < 5; ++i) texts.push_back(New(writer, 100));
    const std::vector<absl::string_view> views(texts.begin(), texts.end());
    MP_ASSIGN_OR_RETURN(const size_t put, queue_->PutBatch(views, Ever()));
    for (size_t i = 0; i < put; ++i) audit_.fates[IdOf(texts[i])].put = 1;
    return absl::OkStatus();
  }

  absl::Status GetSome(size_t max) {
    std::vector<uint64_t> ids;
    MP_RETURN_IF_ERROR(
        queue_
            ->GetBatch(max, Ever(),
                       [&](absl::string_view text, uint32_t) -> absl::Status {
                         MP_ASSIGN_OR_RETURN(const uint64_t id, Check(text));
                         audit_.fates[id].taken = 1;
                         ids.push_back(id);
                         return absl::OkStatus();
                       })
            .status());
    for (const uint64_t id : ids) {
      if (++audit_.fates[id].got > 1) {
        return absl::InternalError(absl::StrCat("message ", id, " came twice"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Turn(int index) {
    if (index % 2 == 1) return GetSome(1 + Random(4));
    return Random(4) == 0 ? PutSome(index) : PutOne(index);
  }

  void RunAndAudit(const QueueOptions& options, int kills) {
    queue_ = MakeQueue(options);
    CrashMonkey monkey({.processes = kProcesses, .kills = kills});
    EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
      while (me.GoesOn()) {
        const absl::Status status = Turn(me.index());
        if (queue_->is_shut_down()) break;
        MP_RETURN_IF_ERROR(status);
      }
      queue_->Shutdown(/*immediate=*/false);
      return absl::OkStatus();
    }),
                IsOk());
    while (!queue_->Empty()) ASSERT_THAT(GetSome(100), IsOk());
    AuditFates(kills);
    EXPECT_LE(MemoryOf(*queue_), kIdleBytes);
  }

  void AuditFates(int kills) {
    int missing = 0;
    uint64_t put = 0;
    for (int writer = 0; writer < kProcesses; writer += 2) {
      ASSERT_LT(audit_.begun[writer], kPerWriter);
      for (uint64_t i = 0; i < audit_.begun[writer]; ++i) {
        const Fate& fate = audit_.fates[writer * kPerWriter + i];
        put += fate.put;
        if (!fate.put || fate.got) continue;
        EXPECT_TRUE(fate.taken) << "lost without anybody taking it";
        ++missing;
      }
    }
    // A killed one had up to four.
    EXPECT_LE(missing, 4 * kills);
    EXPECT_GT(put, 0u);
    RecordProperty("messages", static_cast<int>(put));
    RecordProperty("missing", missing);
  }

  static Deadline Ever() { return Deadline(absl::InfiniteDuration()); }
  static constexpr size_t kLarge = 300000;

  LeakCheck leak_check_;
  Audit& audit_;
  std::shared_ptr<QueueCore> queue_;
};

TEST_F(QueueCoreMonkeyTest, EachMessageComesOutOnceFromABoundedQueue) {
  RunAndAudit({.maxsize = 20}, Scaled(250, 2500));
}

TEST_F(QueueCoreMonkeyTest, EachMessageComesOutOnceWithABoundOfBytes) {
  RunAndAudit({.max_bytes = 2000000}, Scaled(250, 2500));
}

}  // namespace
}  // namespace mp::internal
