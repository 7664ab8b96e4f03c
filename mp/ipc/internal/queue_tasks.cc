#include "mp/ipc/internal/queue_tasks.h"

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/members.h"
#include "mp/base/parking.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_layout.h"
#include "mp/ipc/internal/queue_lock.h"

namespace mp::internal {
namespace {

// For one that is stopped in the middle of a call.
constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace

absl::Status QueueDoneTasks::Acquire(const Deadline& deadline) {
  return lock_.Acquire(deadline, [this] { Repair(); });
}

QueueDoneTasks::State QueueDoneTasks::Load() const {
  const SideCount count = {tasks_.count.load()};
  const TaskState& state = tasks_.states[count.which()];
  return {state.done.load(), state.lost.load(), state.lost_pid.load(),
          state.place.load() % MembersTable::kMaxMembers,
          state.place_done.load()};
}

// What follows the store of the count is for Repair() if this is killed there.
void QueueDoneTasks::Store(const State& next) {
  const SideCount count = SideCount{tasks_.count.load()}.After(1);
  TaskState& state = tasks_.states[count.which()];
  state.done.store(next.done);
  state.lost.store(next.lost);
  state.lost_pid.store(next.lost_pid);
  state.place.store(next.place);
  state.place_done.store(next.place_done);
  tasks_.count.store(count.word);
  Repair();
}

void QueueDoneTasks::Repair() {
  const State state = Load();
  head_.tallies[state.place].done.store(state.place_done);
  tasks_.done.store(state.done);
}

absl::Status QueueDoneTasks::Done(uint64_t count) {
  MP_ASSIGN_OR_RETURN(const MemberId self, members_.Self());
  MP_RETURN_IF_ERROR(Acquire(Deadline(kPatience)));
  QueueLockHolder holder(lock_);
  State state = Load();
  const uint64_t taken = SideCount{head_.get.count.load()}.count();
  if (state.done + count > taken) {
    return absl::FailedPreconditionError(
        absl::StrCat("JoinableQueue::TaskDone: all ", taken,
                     " messages that were taken are done"));
  }
  state.done += count;
  state.place = self % MembersTable::kMaxMembers;
  state.place_done = head_.tallies[state.place].done.load() + count;
  head_.done_cpu.Set();
  Store(state);
  holder.Release();
  FenceBeforeWake();
  if (Unfinished() == 0) WakeAll();
  return absl::OkStatus();
}

// Those that are dropped will not be taken.
uint64_t QueueDoneTasks::Unfinished() const {
  const uint64_t done = tasks_.done.load();
  const bool dropped = head_.end.load() == QueueEnd::kDropped;
  const uint64_t all =
      SideCount{(dropped ? head_.get.count : head_.put.count).load()}.count();
  return all > done ? all - done : 0;
}

void QueueDoneTasks::AwaitNone(const Deadline& deadline) {
  Await(tasks_.all_done, head_.done_cpu, deadline,
        [this] { return Unfinished() == 0; });
}

absl::Status QueueDoneTasks::LookForLost() {
  MP_RETURN_IF_ERROR(Acquire(Deadline(absl::ZeroDuration())));
  QueueLockHolder holder(lock_);
  State state = Load();
  for (uint32_t place = 0; place < PlacesUsed(head_.members); ++place) {
    Lose(place, state);
  }
  if (state.lost == 0) return absl::OkStatus();
  const absl::Status status = absl::AbortedError(
      absl::StrCat("JoinableQueue::Join: pid ", state.lost_pid,
                   " ended, and maybe others, "
                   "with messages that they had taken and not done: ",
                   state.lost));
  state.lost = 0;
  Store(state);
  return status;
}

// The tasks of one that is dead, or was before another came to its place.
void QueueDoneTasks::Lose(uint32_t place, State& state) {
  const TaskTally& tally = head_.tallies[place];
  const uint64_t done = tally.done.load();
  const uint64_t taken = tally.taken.load();
  if (taken <= done) return;
  const MemberId member = tally.member.load();
  const uint64_t end = members_.IsGone(member) ? taken : tally.inherited.load();
  if (end <= done) return;
  const uint64_t all = SideCount{head_.get.count.load()}.count();
  const uint64_t lost =
      std::min(end - done, all > state.done ? all - state.done : 0);
  state.done += lost;
  state.lost += lost;
  state.lost_pid = members_.PidOf(member);
  state.place = place;
  state.place_done = end;
  Store(state);
}

}  // namespace mp::internal
