// A parent for parent_death_test: it starts, releases and joins processes until
// somebody kills it. All of the family say what happens to them in a line.
//
// usage: family START_METHOD|mixed THREADS SEED REPORT_FD
//
//   up                  the parent is about to start its first process
//   child PID begun     a process that is no daemon runs
//   child PID done      its parent has let it go
//   child PID orphaned  it has seen its parent's death
//   daemon PID begun    a daemon runs; it does not end by itself

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/current_process.h"
#include "mp/process/init.h"
#include "mp/process/process.h"

namespace {

using Random = std::minstd_rand;

// One write, so that lines of several processes do not mix.
void Say(const mp::Fd& report, absl::string_view line) {
  MP_CHECK_OK(mp::WriteAll(report.get(), absl::StrCat(line, "\n")));
}

// Waits for a byte. Returns false if instead the parent has ended.
bool AwaitRelease(const mp::Fd& release) {
  pollfd fds[] = {{release.get(), POLLIN, 0},
                  {mp::ParentProcess::Get()->sentinel(), POLLIN, 0}};
  mp::RetryOnEintr([&] { return poll(fds, 2, -1); });
  return (fds[0].revents & POLLIN) != 0;
}

void Child(const mp::Fd& report, const mp::Fd& release) {
  const std::string me = absl::StrCat("child ", getpid());
  Say(report, absl::StrCat(me, " begun"));
  if (AwaitRelease(release)) return Say(report, absl::StrCat(me, " done"));
  MP_CHECK_OK(mp::ParentProcess::Get()->Join(absl::Seconds(60)));
  Say(report, absl::StrCat(me, " orphaned"));
}

void Daemon(const mp::Fd& report, bool spins) {
  signal(SIGTERM, SIG_IGN);
  Say(report, absl::StrCat("daemon ", getpid(), " begun"));
  for (volatile int i = 0; spins;) i = i + 1;
  while (true) pause();
}

struct Member {
  mp::Process process;
  mp::Fd release;  // none for a daemon
};

mp::Fd Copy(const mp::Fd& fd) {
  absl::StatusOr<mp::Fd> copy = fd.Dup();
  MP_CHECK_OK(copy);
  return *std::move(copy);
}

mp::StartMethod MethodOf(absl::string_view name, Random& random) {
  constexpr absl::string_view kNames[] = {"forkserver", "fork", "spawn"};
  if (name == "mixed") name = kNames[random() % 3];
  const absl::StatusOr<mp::Context> context = mp::GetContext(name);
  MP_CHECK_OK(context);
  return context->start_method();
}

Member StartDaemon(mp::StartMethod method, const mp::Fd& report, bool spins) {
  mp::Process process({.context = method, .daemon = true}, Daemon, Copy(report),
                      spins);
  MP_CHECK_OK(process.Start());
  return {std::move(process), mp::Fd()};
}

Member StartChild(mp::StartMethod method, const mp::Fd& report) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  mp::Process process({.context = method}, Child, Copy(report),
                      mp::Fd(ends[0]));
  MP_CHECK_OK(process.Start());
  return {std::move(process), mp::Fd(ends[1])};
}

void Finish(Member member) {
  if (member.release.is_open()) {
    MP_CHECK_OK(mp::WriteAll(member.release.get(), "!"));
  } else {
    MP_CHECK_OK(member.process.Kill());
  }
  MP_CHECK_OK(member.process.Join());
}

[[noreturn]] void Live(absl::string_view method_name, const mp::Fd& report,
                       Random random) {
  std::vector<Member> members;
  while (true) {
    if (members.size() < 2 || (members.size() < 5 && random() % 2 == 0)) {
      const mp::StartMethod method = MethodOf(method_name, random);
      members.push_back(random() % 2 == 0
                            ? StartDaemon(method, report, random() % 4 == 0)
                            : StartChild(method, report));
    } else {
      std::swap(members[random() % members.size()], members.back());
      Finish(std::move(members.back()));
      members.pop_back();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  mp::Init(argc, argv);
  if (argc != 5) return 2;
  const int seed = std::atoi(argv[3]);
  const mp::Fd report(std::atoi(argv[4]));
  fcntl(report.get(), F_SETFD, FD_CLOEXEC);
  Say(report, "up");
  for (int i = 1; i < std::atoi(argv[2]); ++i) {
    std::thread(Live, argv[1], std::cref(report), Random(seed + i)).detach();
  }
  Live(argv[1], report, Random(seed));
}
