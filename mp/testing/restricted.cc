// Runs a program where less is allowed than here.
//
// usage: restricted --no-new-syscalls|--unprivileged|--pid1 -- PROGRAM ARG...
//
//   --no-new-syscalls  A seccomp filter answers ENOSYS to every system call
//                      that came after Linux 5.10, and to those of other ABIs.
//   --unprivileged     If this is root, the program is a user who owns nothing
//                      but an empty folder, which is its working directory and
//                      TEST_TMPDIR. It is executed though its path may be
//                      closed to that user; shared libraries of its own are not
//                      found there, so it should be linked statically.
//   --pid1             The program is process 1 of a PID namespace, with a
//   /proc
//                      of its own: orphans become its children.
//
// Where the environment does not allow it, says "SKIPPED" and why on stderr,
// and in a test report that Bazel shows, and exits with 0.
//
// Exit status: the program's, or 128 + N if signal N killed it; 2 for wrong
// usage, 127 if the program cannot be executed.

#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace {

constexpr uid_t kStranger = 61234;
// process_madvise(2), the last one of Linux 5.10, by its number on all
// architectures that began with the common numbering.
constexpr unsigned kLastSystemCall = 440;

#if defined(__x86_64__)
constexpr unsigned kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "say here which architecture this is"
#endif

[[noreturn]] void Skip(const std::string& what) {
  const std::string why = absl::StrCat(what, ": ", std::strerror(errno));
  std::cerr << "SKIPPED: " << why << std::endl;
  if (const char* const path = getenv("XML_OUTPUT_FILE")) {
    std::ofstream(path) << "<testsuites><testsuite name=\"restricted\" "
                           "tests=\"1\" skipped=\"1\"><testcase name=\"all\" "
                           "status=\"notrun\"><skipped message=\""
                        << why << "\"/></testcase></testsuite></testsuites>\n";
  }
  std::exit(0);
}

[[noreturn]] void Fail(const std::string& what) {
  std::cerr << "restricted: " << what << ": " << std::strerror(errno)
            << std::endl;
  std::exit(127);
}

// Opened before rights are given up, which may take the way to it.
int OpenProgram(const char* path) {
  const int program = open(path, O_PATH | O_CLOEXEC);
  if (program < 0) Fail(path);
  return program;
}

[[noreturn]] void Execute(int program, char** argv) {
  syscall(SYS_execveat, program, "", argv, environ, AT_EMPTY_PATH);
  Fail(argv[0]);
}

// ---- --no-new-syscalls

void ForbidNewSystemCalls() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      // The numbers of x32 are far above.
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kLastSystemCall, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    Skip("prctl(PR_SET_SECCOMP)");
  }
}

// ---- --unprivileged

// Bazel asks tests to write files, and names their places; those that the new
// user may not write are better not named.
void ForgetForbiddenFiles() {
  for (const char* variable :
       {"TEST_PREMATURE_EXIT_FILE", "TEST_SHARD_STATUS_FILE",
        "TEST_UNUSED_RUNFILES_LOG_FILE", "TEST_WARNINGS_OUTPUT_FILE",
        "XML_OUTPUT_FILE"}) {
    const char* const path = getenv(variable);
    if (path == nullptr) continue;
    const int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) {
      unsetenv(variable);
    } else {
      close(file);
    }
  }
}

// Makes a folder for the user and goes there. It is left to whoever clears /tmp
// if the program is killed, and is removed otherwise.
std::string EnterFolderOfStranger() {
  std::string folder = "/tmp/restricted_XXXXXX";
  if (mkdtemp(folder.data()) == nullptr ||
      chown(folder.c_str(), kStranger, kStranger) != 0 ||
      chdir(folder.c_str()) != 0) {
    Fail(folder);
  }
  setenv("TEST_TMPDIR", folder.c_str(), 1);
  setenv("TMPDIR", folder.c_str(), 1);
  return folder;
}

void BecomeStranger() {
  if (setgroups(0, nullptr) != 0 ||
      setresgid(kStranger, kStranger, kStranger) != 0 ||
      setresuid(kStranger, kStranger, kStranger) != 0) {
    Skip("setresuid");
  }
  // This lets a process look at itself in /proc again, as after an exec of a
  // file that it may read.
  prctl(PR_SET_DUMPABLE, 1);
  ForgetForbiddenFiles();
}

// ---- --pid1

void WriteFile(const char* path, const std::string& text) {
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0 || write(file, text.data(), text.size()) < 0) Skip(path);
  close(file);
}

// The next child is process 1.
void EnterNamespaces() {
  const uid_t uid = getuid();
  const gid_t gid = getgid();
  if (unshare(CLONE_NEWPID | CLONE_NEWNS) == 0) return;
  // Who may not do so may, as a rule, as the root of a namespace of users.
  if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) != 0) {
    Skip("unshare");
  }
  WriteFile("/proc/self/setgroups", "deny");
  WriteFile("/proc/self/uid_map", absl::StrCat(uid, " ", uid, " 1"));
  WriteFile("/proc/self/gid_map", absl::StrCat(gid, " ", gid, " 1"));
}

void MountProc() {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
            nullptr) != 0) {
    Skip("mount(\"/proc\")");
  }
}

// ----

pid_t child = 0;

void PassOn(int signal) { kill(child, signal); }

// Runs `program` in a child and returns its exit status.
template <typename Prepare>
int RunInChild(int program, char** argv, Prepare prepare) {
  child = fork();
  if (child < 0) Fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prepare();
    Execute(program, argv);
  }
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) signal(number, PassOn);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) Fail("waitpid");
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int RunUnprivileged(int program, char** argv) {
  if (geteuid() != 0) Execute(program, argv);  // that is what it is
  const std::string folder = EnterFolderOfStranger();
  const int status = RunInChild(program, argv, BecomeStranger);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || absl::string_view(argv[2]) != "--") {
    std::cerr << "usage: restricted --no-new-syscalls|--unprivileged|--pid1 -- "
                 "PROGRAM ARG...\n";
    return 2;
  }
  const absl::string_view restriction = argv[1];
  const int program = OpenProgram(argv[3]);
  if (restriction == "--no-new-syscalls") {
    ForbidNewSystemCalls();
    Execute(program, argv + 3);
  }
  if (restriction == "--unprivileged")
    return RunUnprivileged(program, argv + 3);
  if (restriction == "--pid1") {
    EnterNamespaces();
    // Without Leak Sanitizer, which starts a process: there can be none in a
    // namespace whose process 1 has ended.
    std::_Exit(RunInChild(program, argv + 3, MountProc));
  }
  std::cerr << "restricted: there is no " << restriction << "\n";
  return 2;
}
