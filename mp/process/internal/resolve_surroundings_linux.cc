#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/environment.h"
#include "mp/process/internal/resolve_surroundings.h"
#include "mp/process/serializer.h"
#include "mp/process/stdio.h"
#include "mp/process/surroundings.h"

namespace mp::internal {
namespace {

constexpr const char* kStreams[] = {"stdin", "stdout", "stderr"};

// Whether this thread has the capability, effectively (man 7 capabilities).
bool HasCapability(unsigned capability) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) !=
         0;
}

absl::StatusOr<Fd> Open(const std::string& path, int flags,
                        absl::string_view what) {
  Fd fd(RetryOnEintr(
      [&] { return open(path.c_str(), flags | O_CLOEXEC, 0666); }));
  if (!fd.is_open()) {
    return ErrnoStatus(errno, absl::StrCat(what, ": open(\"", path, "\")"));
  }
  return Fd::AboveStdio(std::move(fd));
}

absl::StatusOr<Fd> OpenCwd(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("cwd: the path is empty");
  // The dot, so that a folder that may not be entered is found out here.
  return Open(absl::StrCat(path, "/."), O_PATH | O_DIRECTORY, "cwd");
}

bool HasNul(absl::string_view text) {
  return absl::StrContains(text, absl::string_view("\0", 1));
}

absl::Status CheckVariable(absl::string_view name, absl::string_view value) {
  if (!name.empty() && !absl::StrContains(name, '=') && !HasNul(name) &&
      !HasNul(value)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("environment: the variable \"", name,
                   "\": a name is not empty and has no '=', and neither name "
                   "nor value has a NUL byte"));
}

std::map<std::string, std::string> CallersEnvironment() {
  std::map<std::string, std::string> variables;
  for (const std::string& entry : CopyEnvironment()) {
    // A name may begin with '=' if it comes from elsewhere.
    const size_t equals = entry.find('=', 1);
    if (equals == std::string::npos) continue;
    variables.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return variables;
}

// Returns nothing if the new process is to have the caller's as it is.
absl::StatusOr<std::optional<std::vector<std::string>>> ResolveEnvironment(
    const Surroundings& from) {
  if (!from.environment.has_value() && from.set_variables.empty() &&
      from.unset_variables.empty()) {
    return std::nullopt;
  }
  std::map<std::string, std::string> variables =
      from.environment.has_value() ? std::map<std::string, std::string>()
                                   : CallersEnvironment();
  if (from.environment.has_value()) {
    for (const auto& [name, value] : *from.environment) {
      MP_RETURN_IF_ERROR(CheckVariable(name, value));
      variables[name] = value;
    }
  }
  for (const auto& [name, value] : from.set_variables) {
    MP_RETURN_IF_ERROR(CheckVariable(name, value));
    variables[name] = value;
  }
  for (const std::string& name : from.unset_variables) {
    MP_RETURN_IF_ERROR(CheckVariable(name, ""));
    variables.erase(name);
  }
  std::vector<std::string> entries;
  for (const auto& [name, value] : variables) {
    entries.push_back(absl::StrCat(name, "=", value));
  }
  return entries;
}

absl::StatusOr<Fd> DupStream(int stream, int fd) {
  absl::StatusOr<Fd> copy = Fd::DupOf(fd);
  if (copy.ok()) return copy;
  return absl::Status(
      absl::IsResourceExhausted(copy.status())
          ? copy.status().code()
          : absl::StatusCode::kInvalidArgument,
      absl::StrCat(kStreams[stream], ": descriptor ", fd,
                   " of the caller: ", copy.status().message()));
}

int OpenFlags(Stdio::Mode mode) {
  switch (mode) {
    case Stdio::Mode::kRead:
      return O_RDONLY;
    case Stdio::Mode::kTruncate:
      return O_WRONLY | O_CREAT | O_TRUNC;
    case Stdio::Mode::kAppend:
      return O_WRONLY | O_CREAT | O_APPEND;
  }
  return O_RDONLY;
}

absl::Status Refuse(int stream, absl::string_view what,
                    absl::string_view whom) {
  return absl::InvalidArgumentError(absl::StrCat(
      kStreams[stream], ": Stdio::", what, " is for ", whom, " only"));
}

// Opens what one stream leads to. `out` is that of stdout, if it has one.
absl::StatusOr<Fd> OpenStream(int stream, const Stdio& stdio, const Fd& out) {
  switch (stdio.kind()) {
    case Stdio::Kind::kInherit:
      return DupStream(stream, stream);
    case Stdio::Kind::kNull:
      return Open("/dev/null", O_RDWR, kStreams[stream]);
    case Stdio::Kind::kFile:
      return Open(stdio.path(), OpenFlags(stdio.mode()), kStreams[stream]);
    case Stdio::Kind::kFd:
      return DupStream(stream, stdio.fd());
    case Stdio::Kind::kStdout:
      if (stream != STDERR_FILENO) return Refuse(stream, "Stdout()", "stderr");
      return DupStream(stream, out.is_open() ? out.get() : STDOUT_FILENO);
    case Stdio::Kind::kPipe:
      return Refuse(stream, "Pipe()", "a Subprocess");
  }
  return absl::InternalError("unreachable: there is no such kind");
}

absl::StatusOr<std::array<Fd, 3>> ResolveStdio(const Surroundings& from) {
  const std::optional<Stdio>* const wanted[] = {
      &from.stdin_from, &from.stdout_to, &from.stderr_to};
  std::array<Fd, 3> stdio;
  for (int stream = 0; stream < 3; ++stream) {
    if (!wanted[stream]->has_value()) continue;
    MP_ASSIGN_OR_RETURN(stdio[stream], OpenStream(stream, **wanted[stream],
                                                  stdio[STDOUT_FILENO]));
  }
  return stdio;
}

absl::Status CheckCpus(const std::vector<int>& cpus) {
  if (cpus.empty()) return absl::OkStatus();  // it would read a file
  const long count = sysconf(_SC_NPROCESSORS_CONF);
  for (const int cpu : cpus) {
    if (cpu >= 0 && cpu < count) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("cpu_affinity: there is no CPU ", cpu,
                     "; this machine has 0 to ", count - 1));
  }
  return absl::OkStatus();
}

absl::Status CheckLimit(const ResourceLimit& limit) {
  struct rlimit now;
  if (limit.resource < 0 || limit.resource >= static_cast<int>(RLIM_NLIMITS) ||
      getrlimit(static_cast<__rlimit_resource_t>(limit.resource), &now) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("rlimits: there is no resource ", limit.resource));
  }
  if (limit.soft > limit.hard) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rlimits: the soft limit of resource ", limit.resource, ", ",
        limit.soft, ", is above the hard one, ", limit.hard));
  }
  if (limit.hard > now.rlim_max && !HasCapability(CAP_SYS_RESOURCE)) {
    return absl::PermissionDeniedError(
        absl::StrCat("rlimits: the hard limit of resource ", limit.resource,
                     ", ", limit.hard, ", is above that of the caller, ",
                     now.rlim_max, ", which takes CAP_SYS_RESOURCE"));
  }
  return absl::OkStatus();
}

// Returns the least nice value that the new process may give itself.
int LeastNice(const std::vector<ResourceLimit>& limits) {
  struct rlimit now = {};
  getrlimit(RLIMIT_NICE, &now);
  rlim_t ceiling = now.rlim_cur;
  for (const ResourceLimit& limit : limits) {
    if (limit.resource == RLIMIT_NICE) ceiling = limit.soft;
  }
  return ceiling >= 40 ? -20 : 20 - static_cast<int>(ceiling);
}

absl::Status CheckNice(int nice, const std::vector<ResourceLimit>& limits) {
  if (nice < -20 || nice > 19) {
    return absl::InvalidArgumentError(
        absl::StrCat("nice: ", nice, " is not in -20 to 19"));
  }
  const int now = getpriority(PRIO_PROCESS, 0);
  if (nice < now && nice < LeastNice(limits) && !HasCapability(CAP_SYS_NICE)) {
    return absl::PermissionDeniedError(
        absl::StrCat("nice: ", nice, " is below that of the caller, ", now,
                     ", which takes CAP_SYS_NICE or a higher RLIMIT_NICE"));
  }
  return absl::OkStatus();
}

absl::Status CheckNumbers(const Surroundings& from) {
  MP_RETURN_IF_ERROR(CheckCpus(from.cpu_affinity));
  for (const ResourceLimit& limit : from.rlimits) {
    MP_RETURN_IF_ERROR(CheckLimit(limit));
  }
  if (from.nice.has_value()) {
    MP_RETURN_IF_ERROR(CheckNice(*from.nice, from.rlimits));
  }
  if (from.umask.value_or(0) > 0777) {
    return absl::InvalidArgumentError(
        absl::StrCat("umask: ", *from.umask, " is above 0777, which is 511"));
  }
  return absl::OkStatus();
}

void WriteFd(const Fd& fd, Encoder& encoder) {
  encoder.Write(fd.is_open());
  if (fd.is_open()) encoder.Write(fd);
}

absl::StatusOr<Fd> ReadFd(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const bool is_open, decoder.Read<bool>());
  if (!is_open) return Fd();
  return decoder.Read<Fd>();
}

void WriteLimits(const std::vector<ResourceLimit>& limits, Encoder& encoder) {
  encoder.WriteCount(limits.size());
  for (const ResourceLimit& limit : limits) {
    encoder.Write(limit.resource);
    encoder.Write(limit.soft);
    encoder.Write(limit.hard);
  }
}

absl::StatusOr<std::vector<ResourceLimit>> ReadLimits(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const size_t count, decoder.ReadCount());
  std::vector<ResourceLimit> limits(count);
  for (ResourceLimit& limit : limits) {
    MP_ASSIGN_OR_RETURN(limit.resource, decoder.Read<int>());
    MP_ASSIGN_OR_RETURN(limit.soft, decoder.Read<rlim_t>());
    MP_ASSIGN_OR_RETURN(limit.hard, decoder.Read<rlim_t>());
  }
  return limits;
}

}  // namespace

absl::StatusOr<ResolvedSurroundings> Resolve(const Surroundings& surroundings) {
  MP_RETURN_IF_ERROR(CheckNumbers(surroundings));
  ResolvedSurroundings resolved;
  MP_ASSIGN_OR_RETURN(resolved.environment, ResolveEnvironment(surroundings));
  if (surroundings.cwd.has_value()) {
    MP_ASSIGN_OR_RETURN(resolved.cwd, OpenCwd(*surroundings.cwd));
  }
  // Last, as it may make files.
  MP_ASSIGN_OR_RETURN(resolved.stdio, ResolveStdio(surroundings));
  resolved.cpu_affinity = surroundings.cpu_affinity;
  resolved.nice = surroundings.nice;
  resolved.rlimits = surroundings.rlimits;
  resolved.umask = surroundings.umask;
  return resolved;
}

void WriteSurroundings(const ResolvedSurroundings& surroundings,
                       Encoder& encoder) {
  WriteFd(surroundings.cwd, encoder);
  encoder.Write(surroundings.environment);
  for (const Fd& fd : surroundings.stdio) WriteFd(fd, encoder);
  encoder.Write(surroundings.cpu_affinity);
  encoder.Write(surroundings.nice);
  WriteLimits(surroundings.rlimits, encoder);
  encoder.Write(surroundings.umask);
}

absl::StatusOr<ResolvedSurroundings> ReadSurroundings(Decoder& decoder) {
  ResolvedSurroundings read;
  MP_ASSIGN_OR_RETURN(read.cwd, ReadFd(decoder));
  MP_ASSIGN_OR_RETURN(read.environment,
                      decoder.Read<std::optional<std::vector<std::string>>>());
  for (Fd& fd : read.stdio) {
    MP_ASSIGN_OR_RETURN(fd, ReadFd(decoder));
  }
  MP_ASSIGN_OR_RETURN(read.cpu_affinity, decoder.Read<std::vector<int>>());
  MP_ASSIGN_OR_RETURN(read.nice, decoder.Read<std::optional<int>>());
  MP_ASSIGN_OR_RETURN(read.rlimits, ReadLimits(decoder));
  MP_ASSIGN_OR_RETURN(read.umask, decoder.Read<std::optional<mode_t>>());
  return read;
}

}  // namespace mp::internal
