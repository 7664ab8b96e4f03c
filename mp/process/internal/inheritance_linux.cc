#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "mp/process/internal/inheritance.h"

namespace mp::internal {
namespace {

// What cannot be read stays as it is, and is the same the next time.

void ReadUsers(Inheritance& mine) {
  static_cast<void>(getresuid(&mine.uids[0], &mine.uids[1], &mine.uids[2]));
  static_cast<void>(getresgid(&mine.gids[0], &mine.gids[1], &mine.gids[2]));
  mine.groups.resize(std::max(getgroups(0, nullptr), 0));
  const int count =
      getgroups(static_cast<int>(mine.groups.size()), mine.groups.data());
  mine.groups.resize(std::max(count, 0));
}

void ReadRights(Inheritance& mine) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  static_assert(sizeof(mine.capabilities) ==
                2 * sizeof(__user_cap_data_struct));
  static_cast<void>(syscall(SYS_capget, &header, mine.capabilities.data()));
  mine.no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  mine.seccomp = prctl(PR_GET_SECCOMP);
}

void ReadLimits(Inheritance& mine) {
  mine.nice = getpriority(PRIO_PROCESS, 0);
  for (int i = 0; i < static_cast<int>(RLIM_NLIMITS); ++i) {
    rlimit limit = {};
    static_cast<void>(getrlimit(static_cast<__rlimit_resource>(i), &limit));
    mine.limits[2 * i] = limit.rlim_cur;
    mine.limits[2 * i + 1] = limit.rlim_max;
  }
  static_cast<void>(
      syscall(SYS_sched_getaffinity, 0, sizeof(mine.cpus), mine.cpus.data()));
}

}  // namespace

Inheritance CurrentInheritance() {
  Inheritance mine;
  ReadUsers(mine);
  ReadRights(mine);
  ReadLimits(mine);
  return mine;
}

}  // namespace mp::internal
