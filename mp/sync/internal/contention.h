#ifndef MP_SYNC_INTERNAL_CONTENTION_H_
#define MP_SYNC_INTERNAL_CONTENTION_H_

#include <functional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mp::internal {

// What came of several processes that did the same thing for a while.
struct Contention {
  // Of the time that went by, what one turn of any of them took.
  absl::Duration per_turn;

  // The turns of the busiest process, for each of the idlest one; 1 is even.
  double unfairness = 0;

  // The longest that a process did not come to its turn.
  absl::Duration longest_wait;
};

// Has `processes` forked children, of which there are at most 64, take turns
// for `window`. `turns` is called with how many turns to take, and returns
// false to fail; as often as they are taken, `at_once`, a process comes to its
// turn: more of them cost less time, and one alone says how long it waits.
//
// Errors:
//   kInternal  a child failed.
absl::StatusOr<Contention> Contend(int processes, absl::Duration window,
                                   const std::function<bool(int)>& turns,
                                   int at_once = 16);

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_CONTENTION_H_
