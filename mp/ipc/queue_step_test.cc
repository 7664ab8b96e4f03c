// A process is killed at each instruction of a Put() or Get(), with values that
// are bytes and with values that have descriptors, and others go on.
// MP_TEST_FULL=1 leaves out no instruction.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/memfd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/queue.h"
#include "mp/process/serializer.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::Killed;
using ::mp::testing::LeakCheck;
using ::mp::testing::PtraceAllowed;
using ::mp::testing::StepKiller;
using ::testing::AnyOf;
using ::testing::ElementsAre;

constexpr absl::Duration kLong = absl::Seconds(60);

// What is put, and how it is told apart.
std::string Make(const std::string& text, std::string*) { return text; }
std::string TextOf(const std::string& value) { return value; }

Fd Make(const std::string& text, Fd*) {
  absl::StatusOr<Fd> file = CreateSealedMemfd("step", text);
  MP_CHECK_OK(file.status());
  return *std::move(file);
}
std::string TextOf(const Fd& value) {
  absl::StatusOr<std::string> text = ReadSealedMemfd(value, 1000);
  return text.ok() ? *text : text.status().ToString();
}

template <typename T>
class QueueStepTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    absl::StatusOr<Queue<T>> queue = Queue<T>::Create();
    ASSERT_THAT(queue, IsOk());
    queue_ = *std::move(queue);
    // See StepKiller on first calls.
    ASSERT_THAT(Put("a"), IsOk());
    ASSERT_THAT(queue_.Get(), IsOk());
  }

  absl::Status Put(const std::string& text) {
    return queue_.Put(Make(text, static_cast<T*>(nullptr)), kLong);
  }

  // Takes all that there is.
  std::vector<std::string> Rest() {
    std::vector<std::string> texts;
    while (true) {
      const absl::StatusOr<T> value = queue_.GetNowait();
      if (absl::IsDeadlineExceeded(value.status())) return texts;
      texts.push_back(value.ok() ? TextOf(*value) : value.status().ToString());
    }
  }

  // Runs `region` again and again, kills it, and has `check` look.
  void KillEverywhere(StepKiller& killer, absl::FunctionRef<void()> prepare,
                      absl::FunctionRef<void(const Killed&)> check) {
    prepare();
    const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(40);
    ASSERT_THAT(points, IsOk());
    Rest();
    for (const int64_t at : *points) {
      SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
      prepare();
      const absl::StatusOr<Killed> killed = killer.KillAt(at);
      ASSERT_THAT(killed, IsOk());
      check(*killed);
      if (this->HasFailure()) return;
    }
  }

  LeakCheck leak_check_;
  Queue<T> queue_;
};

using Types = ::testing::Types<std::string, Fd>;
TYPED_TEST_SUITE(QueueStepTest, Types);

TYPED_TEST(QueueStepTest, PutLeavesAllOrNothing) {
  const TypeParam value = Make("x", static_cast<TypeParam*>(nullptr));
  StepKiller killer(
      // Makes it a member.
      [&] {
        return this->queue_.GetNowait().ok() ? absl::InternalError("x")
                                             : absl::OkStatus();
      },
      [&] { return this->queue_.Put(value); });
  this->KillEverywhere(
      killer, [] {},
      [&](const Killed& killed) {
        ASSERT_THAT(this->Put("after"), IsOk());
        const std::vector<std::string> rest = this->Rest();
        if (killed.finished) {
          EXPECT_THAT(rest, ElementsAre("x", "after"));
        } else {
          EXPECT_THAT(rest,
                      AnyOf(ElementsAre("x", "after"), ElementsAre("after")));
        }
      });
}

TYPED_TEST(QueueStepTest, GetTakesOneOrNone) {
  StepKiller killer([&] { return this->queue_.GetUpTo(0).status(); },
                    [&] { return this->queue_.Get().status(); });
  this->KillEverywhere(
      killer,
      [&] {
        ASSERT_THAT(this->Put("x"), IsOk());
        ASSERT_THAT(this->Put("y"), IsOk());
      },
      [&](const Killed& killed) {
        const std::vector<std::string> rest = this->Rest();
        if (killed.finished) {
          EXPECT_THAT(rest, ElementsAre("y"));
        } else {
          EXPECT_THAT(rest, AnyOf(ElementsAre("x", "y"), ElementsAre("y")));
        }
        ASSERT_THAT(this->Put("after"), IsOk());
        EXPECT_THAT(this->Rest(), ElementsAre("after"));
      });
}

}  // namespace
}  // namespace mp
