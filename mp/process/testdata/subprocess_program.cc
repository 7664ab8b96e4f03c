// A program that says what it finds around it, or has a family:
//
//   subprocess_program fds            its open descriptors: "0 1 2 "
//   subprocess_program status NAME    the line NAME: of /proc/self/status
//   subprocess_program surroundings   cwd, umask, nice value and limits
//   subprocess_program family FD      makes a tree of processes, some in
//                                     sessions of their own, which wait for
//                                     ever; each writes a byte to FD
//   subprocess_program hydra FD       has two heads each of which makes another
//                                     and ends, again and again; each of the
//                                     first writes a byte to FD
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

namespace {

int PrintFds() {
  DIR* const listing = opendir("/proc/self/fd");
  std::set<int> fds;
  while (const dirent* entry = readdir(listing)) {
    if (entry->d_name[0] != '.') fds.insert(std::atoi(entry->d_name));
  }
  fds.erase(dirfd(listing));
  closedir(listing);
  for (const int fd : fds) std::printf("%d ", fd);
  return 0;
}

int PrintStatus(const std::string& name) {
  std::FILE* const file = std::fopen("/proc/self/status", "r");
  char line[256];
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    const bool is_it = std::strncmp(line, name.c_str(), name.size()) == 0;
    if (is_it) std::fputs(line, stdout);
  }
  std::fclose(file);
  return 0;
}

int PrintSurroundings() {
  char cwd[4096];
  const mode_t mask = umask(0);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  std::printf("%s umask=%o nice=%d files=%lu/%lu", getcwd(cwd, sizeof(cwd)),
              mask, getpriority(PRIO_PROCESS, 0), limit.rlim_cur,
              limit.rlim_max);
  return 0;
}

[[noreturn]] void WaitForEver(int fd) {
  if (write(fd, "x", 1) != 1) _exit(1);
  while (true) pause();
}

// Makes a child that runs `body` and waits for ever.
template <typename Body>
void Bear(int fd, Body body) {
  if (fork() != 0) return;
  // Deaf to what is polite.
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    ::signal(signal, SIG_IGN);
  }
  body();
  WaitForEver(fd);
}

// Seven processes with the first.
int MakeFamily(int fd) {
  Bear(fd, [] {});
  Bear(fd, [&] {
    setsid();
    Bear(fd, [&] {
      setsid();
      Bear(fd, [] { setpgid(0, 0); });
    });
  });
  // An orphan, which is still in the group.
  if (fork() == 0) {
    Bear(fd, [] {});
    _exit(0);
  }
  wait(nullptr);
  Bear(fd, [] { setpgid(0, 0); });
  WaitForEver(fd);
}

// Never the same process for more than a millisecond. It ends by itself after
// a minute or so, for the sake of those who let it get away.
[[noreturn]] void GrowHeads() {
  for (int generation = 0; generation < 30000; ++generation) {
    if (fork() != 0) _exit(0);
    usleep(1000);
  }
  _exit(0);
}

int MakeHydra(int fd) {
  for (int head = 0; head < 2; ++head) {
    if (fork() == 0) GrowHeads();
    wait(nullptr);
    if (write(fd, "x", 1) != 1) return 1;
  }
  while (true) pause();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const std::string argument = argc > 2 ? argv[2] : "";
  if (what == "fds") return PrintFds();
  if (what == "status") return PrintStatus(argument + ":");
  if (what == "surroundings") return PrintSurroundings();
  if (what == "family") return MakeFamily(std::stoi(argument));
  if (what == "hydra") return MakeHydra(std::stoi(argument));
  return 2;
}
