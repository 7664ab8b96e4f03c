#ifndef MP_PROCESS_INTERNAL_INHERITANCE_H_
#define MP_PROCESS_INTERNAL_INHERITANCE_H_

#include <sched.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <vector>

namespace mp::internal {

// Rights and limits of a process, which those that it makes have too. A fork
// server that has others than its client is not to make children for it.
struct Inheritance {
  std::array<uid_t, 3> uids = {};  // real, effective, saved
  std::array<gid_t, 3> gids = {};
  std::vector<gid_t> groups;
  // Effective, permitted and inheritable capabilities, as capget(2) has them.
  std::array<uint32_t, 6> capabilities = {};
  int no_new_privs = 0;
  int seccomp = 0;
  int nice = 0;
  std::array<rlim_t, 2 * RLIM_NLIMITS> limits = {};
  std::array<unsigned long, 16> cpus = {};  // of the first 1024

  friend bool operator==(const Inheritance&, const Inheritance&) = default;
};

// Returns that of the calling thread, as it is now.
//
// Source: man 7 credentials, man 7 capabilities, man 2 getrlimit.
Inheritance CurrentInheritance();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_INHERITANCE_H_
