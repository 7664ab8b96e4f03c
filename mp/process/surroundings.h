#ifndef MP_PROCESS_SURROUNDINGS_H_
#define MP_PROCESS_SURROUNDINGS_H_

#include <sys/resource.h>
#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mp/process/stdio.h"

namespace mp {

// A limit of man 2 setrlimit: RLIMIT_AS, RLIMIT_NOFILE and so on.
struct ResourceLimit {
  int resource = 0;
  rlim_t soft = RLIM_INFINITY;
  rlim_t hard = RLIM_INFINITY;

  friend bool operator==(const ResourceLimit&, const ResourceLimit&) = default;
};

// What a new process, of a function or of a program, finds around it. What is
// not said here it has as the caller has it.
//
// Example:
//   mp::Process p({.surroundings = {.cwd = "/tmp", .nice = 5}}, Sort, "words");
//
// All of it is checked and opened by the start, in the caller, so that what is
// wrong is an error there:
//   kInvalidArgument    no number of a CPU, a resource, a nice value, a umask
//   or
//                       a descriptor; a name of a variable with a '='.
//   kNotFound, kFailedPrecondition, kPermissionDenied
//                       a folder or file that cannot be opened.
//   kPermissionDenied   a limit above the hard one, or a nice value below what
//                       RLIMIT_NICE allows, without the privilege.
//
// Source: CPython subprocess.Popen: cwd, env, stdin, stdout, stderr, umask. The
//         rest people there do in preexec_fn, which no program with threads
//         can use safely.
struct Surroundings {
  // The working directory.
  std::optional<std::string> cwd = {};

  // The whole environment, in the place of the caller's. Then what is set in
  // it and what is taken out.
  std::optional<std::map<std::string, std::string>> environment = {};
  std::map<std::string, std::string> set_variables = {};
  std::vector<std::string> unset_variables = {};

  // Where stdio leads. Default: as the caller's; but stdin of a function is
  // /dev/null.
  std::optional<Stdio> stdin_from = {};
  std::optional<Stdio> stdout_to = {};
  std::optional<Stdio> stderr_to = {};

  // The CPUs that it may run on, by number.
  std::vector<int> cpu_affinity = {};

  // The nice value itself, -20 to 19; no increment.
  std::optional<int> nice = {};

  std::vector<ResourceLimit> rlimits = {};

  // The mode bits that new files do not get, 0 to 0777.
  std::optional<mode_t> umask = {};

  friend bool operator==(const Surroundings&, const Surroundings&) = default;
};

}  // namespace mp

#endif  // MP_PROCESS_SURROUNDINGS_H_
