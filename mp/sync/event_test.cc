#include "mp/sync/event.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sync/internal/placed.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using internal::AllStartMethods;
using internal::kLong;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

class EventTest : public internal::StartMethodTest {
 protected:
  Event event_ = *Event::Create();
};
MP_INSTANTIATE_TEST_SUITE(EventTest, AllStartMethods);

// CPython has no test of an event but that of its text, and one by the way in
// those of its conditions. This is what threading's tests assert.
TEST_P(EventTest, AProcessWaitsForIt) {
  const auto wait = [](Event ready, Event event) -> absl::Status {
    MP_RETURN_IF_ERROR(ready.Set());
    return event.Wait(kLong);
  };
  Event ready = *Event::Create();
  Process process(options(), wait, ready, event_);
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(ready.Wait(kLong), IsOk());
  ASSERT_THAT(event_.Set(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_P(EventTest, AProcessSetsAndClearsIt) {
  EXPECT_EQ(Run([](Event event) { return event.Set(); }, event_), 0);
  EXPECT_TRUE(event_.IsSet());
  EXPECT_THAT(event_.Wait(), IsOk());
  EXPECT_EQ(Run([](Event event) { return event.Clear(); }, event_), 0);
  EXPECT_FALSE(event_.IsSet());
  EXPECT_THAT(event_.Wait(absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_P(EventTest, LiesInMemoryOfTheProgramsOwn) {
  using Shared = internal::Placed<EventState>;
  Shared shared = *Shared::Create();
  absl::StatusOr<Event> event = Event::At(shared.get(), shared.arena());
  ASSERT_THAT(event, IsOk());
  EXPECT_THAT(event->Set(), IsOk());
  EXPECT_TRUE(event->IsSet());
  Process process(
      options(), [](Event) {}, *event);
  EXPECT_THAT(process.Start(), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("call At() there")));
}

TEST(EventHandleTest, CopiesAreTheSameEvent) {
  Event copy;
  {
    Event event = *Event::Create();
    copy = event;
    EXPECT_EQ(copy, event);
    EXPECT_EQ(event.ToString(), "Event(not set)");
    EXPECT_THAT(event.Set(), IsOk());
  }
  EXPECT_TRUE(copy.IsSet());
  EXPECT_EQ(copy.ToString(), "Event(set)");
}

TEST(EventHandleTest, AnEmptyOneSaysSo) {
  Event moved = *Event::Create();
  const Event event = std::move(moved);
  const auto is_empty = StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("the handle is empty"));
  for (Event empty : {moved, Event()}) {
    EXPECT_THAT(empty.Set(), is_empty);
    EXPECT_THAT(empty.Clear(), is_empty);
    EXPECT_THAT(empty.Wait(), is_empty);
    EXPECT_FALSE(empty.IsSet());
    EXPECT_EQ(empty.ToString(), "Event(empty)");
  }
}

}  // namespace
}  // namespace mp
