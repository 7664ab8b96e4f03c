#ifndef MP_TESTING_LEAKS_H_
#define MP_TESTING_LEAKS_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mp::testing {

// What this process holds that the kernel knows of: its open descriptors, its
// threads and its children, zombies among them.
//
// Example:
//   const ResourceSnapshot before = ResourceSnapshot::Take();
//   UsePipe();
//   EXPECT_THAT(LeaksSince(before), IsEmpty());
//
// Threads: safe; but what other threads open meanwhile counts too.
// Source:  man 5 proc: /proc/PID/fd, /proc/PID/task and /proc/PID/stat.
class ResourceSnapshot {
 public:
  static ResourceSnapshot Take();

  // What each descriptor, thread and child is, by its number.
  const std::map<int, std::string>& fds() const { return fds_; }
  const std::map<pid_t, std::string>& threads() const { return threads_; }
  const std::map<pid_t, std::string>& children() const { return children_; }

 private:
  std::map<int, std::string> fds_;
  std::map<pid_t, std::string> threads_;
  std::map<pid_t, std::string> children_;
};

// Returns a line for each descriptor, thread and child that is there now and
// was not there `before`. A descriptor that is open on something else than
// before counts.
std::vector<std::string> LeaksSince(const ResourceSnapshot& before);

// The same, but waits until there are none or `timeout` is over. For what ends
// a little after the call that ended it, as threads do.
std::vector<std::string> SettledLeaksSince(
    const ResourceSnapshot& before, absl::Duration timeout = absl::Seconds(10));

// Fails the test if something opened in this object's life outlives it.
//
// Example:
//   class PipeTest : public ::testing::Test {
//     LeakCheck leak_check_;  // First, so that it goes last.
//   };
class LeakCheck {
 public:
  explicit LeakCheck(absl::Duration timeout = absl::Seconds(10))
      : timeout_(timeout), before_(ResourceSnapshot::Take()) {}
  ~LeakCheck();
  LeakCheck(const LeakCheck&) = delete;
  LeakCheck& operator=(const LeakCheck&) = delete;

 private:
  const absl::Duration timeout_;
  const ResourceSnapshot before_;
};

}  // namespace mp::testing

#endif  // MP_TESTING_LEAKS_H_
