#ifndef MP_PROCESS_INTERNAL_HOLD_ACROSS_FORKS_H_
#define MP_PROCESS_INTERNAL_HOLD_ACROSS_FORKS_H_

#include "mp/base/fork_safe_mutex.h"

namespace mp::internal {

// Has the forking thread hold `mutex` during every fork from now on, so that
// in the child it is free and what it guards is whole. `mutex` is never
// destroyed. Whoever holds it takes no other lock and does not fork.
//
// Example:
//   List& All() {
//     static List& list = *new List;
//     static const bool held = (HoldAcrossForks(list.mutex), true);
//     static_cast<void>(held);
//     return list;
//   }
//
// Threads: safe from any.
// Source:  man 3 pthread_atfork.
void HoldAcrossForks(ForkSafeMutex& mutex);

// For one that is about to call pthread_atfork(): has all those mutexes, of
// whatever time, be free in the child when its handler runs there.
void HoldAcrossForks();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_HOLD_ACROSS_FORKS_H_
