#ifndef MP_SHAREDMEM_INTERNAL_OWN_SHM_H_
#define MP_SHAREDMEM_INTERNAL_OWN_SHM_H_

#include "gtest/gtest.h"
#include "mp/testing/child.h"

namespace mp::internal {

// What a child exits with if this machine does not let it do the test.
inline constexpr int kNotHere = 77;

// Has this process, which has one thread, see an empty /dev/shm of 1 MiB that
// nobody else sees. Returns whether it could.
bool TryToMountOwnShm();

// Has this process, a child of a test, see an empty /dev/shm of 1 MiB that
// nobody else sees; or ends it with kNotHere.
//
// Source: man 7 mount_namespaces, man 7 user_namespaces.
void MountOwnShm();

}  // namespace mp::internal

// Passes if a child does, and is skipped if that cannot be done here.
#define EXPECT_CHILD_PASSES(child, what)                     \
  do {                                                       \
    const ::mp::testing::ExitStatus status = (child).Wait(); \
    if (status.code == ::mp::internal::kNotHere) {           \
      GTEST_SKIP() << "not allowed: " what;                  \
    }                                                        \
    EXPECT_THAT(status, ::mp::testing::ExitedWith(0));       \
  } while (false)

#endif  // MP_SHAREDMEM_INTERNAL_OWN_SHM_H_
