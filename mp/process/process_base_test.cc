#include "mp/process/process_base.h"

#include <unistd.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/fields.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::StartsWith;

class ProcessBaseTest : public internal::StartMethodTest {};

MP_INSTANTIATE_TEST_SUITE(ProcessBaseTest, AllStartMethods);

class Greeter : public ProcessBase<Greeter> {
 public:
  explicit Greeter(Options options = {})
      : ProcessBase<Greeter>(std::move(options)) {}

  std::string greeting = "hello";
  internal::Report report;
  int not_sent = 1;

  void Run() { Say(report, absl::StrCat(Phrase(), " ", not_sent)); }

 private:
  std::string Phrase() const { return absl::StrCat(greeting, " of ", name()); }

  MP_FIELDS(greeting, report)
};

TEST_P(ProcessBaseTest, RunsWithItsFieldsAsTheyAreAtStart) {
  Listener listener;
  Greeter greeter(options());
  greeter.report = listener.report();
  greeter.greeting = "good day";
  greeter.not_sent = 2;
  EXPECT_THAT(greeter.name(), StartsWith("Greeter-"));
  greeter.set_name("polite");
  ASSERT_THAT(greeter.Start(), IsOk());
  ASSERT_THAT(greeter.Join(kLong), IsOk());
  EXPECT_THAT(greeter.exitcode(), Optional(0));
  greeter.report.fd.reset();
  EXPECT_EQ(listener.Hear(), "good day of polite 1");
}

class Failing : public ProcessBase<Failing> {
 public:
  using ProcessBase<Failing>::ProcessBase;
  absl::Status Run() { return absl::NotFoundError("nothing"); }
  MP_FIELDS()
};

TEST_P(ProcessBaseTest, FailedStatusExitsWith1) {
  Failing failing(options());
  ASSERT_THAT(failing.Start(), IsOk());
  ASSERT_THAT(failing.Join(kLong), IsOk());
  EXPECT_THAT(failing.exitcode(), Optional(1));
}

class Introspective : public ProcessBase<Introspective> {
 public:
  using ProcessBase<Introspective>::ProcessBase;
  void Run() {
    const bool right = pid() == getpid() && IsAlive() && name() == "self" &&
                       daemon() && !exitcode().has_value() &&
                       absl::IsFailedPrecondition(Join()) &&
                       absl::IsFailedPrecondition(Start());
    Exit(right ? 41 : 1);
  }
  MP_FIELDS()
};

TEST_P(ProcessBaseTest, IsTheProcessItselfInItsRun) {
  ProcessOptions named = options();
  named.name = "self";
  named.daemon = true;
  Introspective process(std::move(named));
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(41));
}

// A process class may have processes of its own.
class Nested : public ProcessBase<Nested> {
 public:
  using ProcessBase<Nested>::ProcessBase;
  int depth = 0;
  void Run() {
    if (depth == 0) Exit(1);
    Nested inner;
    inner.depth = depth - 1;
    MP_CHECK_OK(inner.Start());
    MP_CHECK_OK(inner.Join(kLong));
    Exit(inner.exitcode().value_or(100) + 1);
  }
  MP_FIELDS(depth)
};

TEST_P(ProcessBaseTest, StartsOthersOfItsKind) {
  Nested nested(options());
  nested.depth = 3;
  ASSERT_THAT(nested.Start(), IsOk());
  ASSERT_THAT(nested.Join(kLong), IsOk());
  EXPECT_THAT(nested.exitcode(), Optional(4));
}

TEST_P(ProcessBaseTest, NumbersAreNotUsedUpByWhatIsReceived) {
  Listener listener;
  Process process(
      options(),
      [](const Report& report) {
        Process child([] {});
        Say(report, child.name());
      },
      listener.report());
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(listener.Hear(), HasSubstr(":1"));
}

}  // namespace
}  // namespace mp
