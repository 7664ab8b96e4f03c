#ifndef MP_TESTING_TEST_SCALE_H_
#define MP_TESTING_TEST_SCALE_H_

#include <cstdint>

namespace mp::testing {

// How much a test does that could go on for ever, and where its chance begins.
//
// Example:
//   bazel test --test_env=MP_TEST_FULL=1 --test_env=MP_TEST_SEED=7
//   //mp/sync/... const int kills = Scaled(/*usual=*/200, /*full=*/2000);

// Whether the environment has MP_TEST_FULL=1: everything, as before a release.
bool IsFullTest();

// `full` in a full test, else `usual`; a tenth of either, but at least 1, under
// a sanitizer, which makes all of it slower.
int Scaled(int usual, int full);

// MP_TEST_SEED, or another one in each process that was started anew; forked
// children have their parent's. A test that draws from it says which it was.
uint64_t TestSeed();

}  // namespace mp::testing

#endif  // MP_TESTING_TEST_SCALE_H_
