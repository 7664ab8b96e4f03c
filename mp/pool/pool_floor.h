#ifndef MP_POOL_POOL_FLOOR_H_
#define MP_POOL_POOL_FLOOR_H_

#include "mp/testing/paired_benchmark.h"

// The least that can be asked of a pool, for pool_ratios: what its tasks cost if
// nothing is done but to hand them over.
namespace mp {

// Tasks of 24 bytes that go to `workers` processes through a ring in shared
// memory that all of them read, and come back through another one, while one
// process feeds and collects. Nobody sleeps.
testing::Measure RingsTime(int workers);

// Items of a range that processes take by a shared counter, an eighth of their
// share at a time, with a result in shared memory for each.
testing::Measure ClaimsTime(int workers);

// Two processes that wake each other by futexes: there and back, after a while
// in which both have slept.
testing::Measure TwoWakesTime();

}  // namespace mp

#endif  // MP_POOL_POOL_FLOOR_H_
