// What CPython's test suite asks of its fork server and of its resource
// tracker, which is the other helper that it starts; see docs/conformance.md.

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/pidfd.h"
#include "mp/base/socket_pair.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/self_image.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AwaitRelease;
using ::mp::internal::Copy;
using ::mp::internal::ExitCodeOf;
using ::mp::internal::ForkServer;
using ::mp::internal::kLong;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::testing::AnyOf;
using ::testing::Optional;

int RunOne(int code) {
  Process process(
      {.context = StartMethod::kForkServer}, [](int code) { Exit(code); },
      code);
  return ExitCodeOf(process);
}

class ForkServerConformanceTest : public ::testing::Test {
 protected:
  ForkServerConformanceTest() { Start(); }
  ~ForkServerConformanceTest() override { ForkServer::Get().Stop(); }

  static void Start() { EXPECT_EQ(RunOne(3), 3); }
  static pid_t Server() { return ForkServer::Get().pid().value(); }
  static Fd ServersPidfd() { return OpenPidfd(Server()).value(); }

  // Waits for the end of a process.
  static auto HasEnded(const Fd& pidfd) {
    return WaitForFd(pidfd.get(), POLLIN, Deadline(kLong));
  }
};

// _TestProcess.test_forkserver_sigint, test_forkserver_sigkill;
// TestResourceTracker.test_resource_tracker_sigint, ..._sigterm, ..._sigkill
TEST_F(ForkServerConformanceTest, SignalToTheServerCostsNobodyAnything) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGKILL}) {
    auto release = testing::Marker::Create();
    ASSERT_THAT(release, IsOk());
    Process earlier({.context = StartMethod::kForkServer}, AwaitRelease,
                    Copy(release->reader()));
    ASSERT_THAT(earlier.Start(), IsOk());
    const pid_t server = Server();
    ASSERT_EQ(kill(server, signal), 0);
    EXPECT_EQ(RunOne(4), 4) << signal;
    EXPECT_EQ(Server() == server, signal == SIGINT) << signal;
    EXPECT_TRUE(earlier.IsAlive());
    ASSERT_THAT(release->Signal(), IsOk());
    ASSERT_THAT(earlier.Join(kLong), IsOk());
    // 255 where the server was its parent, and died.
    EXPECT_THAT(earlier.exitcode(), Optional(AnyOf(0, 255))) << signal;
  }
}

// TestResourceTracker.test_resource_tracker_reused
TEST_F(ForkServerConformanceTest, AllChildrenComeFromOneServer) {
  const pid_t server = Server();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(Start);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Server(), server);
}

// TestResourceTracker.test_resource_tracker_mp_fork_reuse_and_prompt_reap. A
// forked child has a server of its own, if it needs one, which ends with it.
TEST_F(ForkServerConformanceTest, ForkedChildLeavesNoServerBehind) {
  const Fd servers = ServersPidfd();
  Listener listener;
  Process forked(
      {.context = StartMethod::kFork},
      [](const Report& report) {
        const bool had_one = ForkServer::Get().pid().has_value();
        const int code = RunOne(6);
        Say(report, absl::StrCat(had_one, " ", code, " ", Server()));
      },
      listener.report());
  EXPECT_EQ(ExitCodeOf(forked), 0);
  const std::vector<std::string> said = absl::StrSplit(listener.Hear(), ' ');
  ASSERT_EQ(said.size(), 3);
  EXPECT_EQ(said[0], "0");
  EXPECT_EQ(said[1], "6");
  pid_t server_of_child = 0;
  ASSERT_TRUE(absl::SimpleAtoi(said[2], &server_of_child));
  EXPECT_NE(server_of_child, Server());
  EXPECT_EQ(kill(server_of_child, 0), -1) << "it is still there";
  ForkServer::Get().Stop();
  EXPECT_THAT(HasEnded(servers), IsOkAndHolds(true));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "it has not been reaped";
}

// TestResourceTracker.test_resource_tracker_lock_reinit_after_fork
TEST_F(ForkServerConformanceTest, RawForkWhileAThreadStartsFindsItUsable) {
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) Start();
  });
  for (int i = 0; i < 20; ++i) {
    Child child = RunInChild([]() -> absl::Status {
      const int code = RunOne(7);
      ForkServer::Get().Stop();
      return code == 7 ? absl::OkStatus() : absl::InternalError("wrong code");
    });
    EXPECT_THAT(child.Wait(), ExitedWith(0));
  }
  done = true;
  busy.join();
}

// A child that has a copy of all that we have, behind the back of the C
// library and so of the handlers of pthread_atfork(3).
class Holder {
 public:
  Holder() : pid_(static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))) {
    if (pid_ < 0) std::abort();
    while (pid_ == 0) pause();
  }
  ~Holder() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

 private:
  const pid_t pid_;
};

// TestResourceTracker.test_resource_tracker_safety_net_timeout
TEST_F(ForkServerConformanceTest, StopsThoughAChildHoldsOnToIt) {
  const Holder holder;
  const Fd servers = ServersPidfd();
  ForkServer::Get().Stop();
  EXPECT_THAT(HasEnded(servers), IsOkAndHolds(true));
  EXPECT_EQ(ForkServer::Get().pid(), std::nullopt);
  Start();
}

TEST_F(ForkServerConformanceTest, StopsThoughItDoesNotListen) {
  const Fd servers = ServersPidfd();
  ASSERT_EQ(kill(Server(), SIGSTOP), 0);
  ForkServer::Get().Stop();
  EXPECT_THAT(HasEnded(servers), IsOkAndHolds(true));
}

// Returns what a link of /proc/PID/fd points to, for each above stdio.
std::vector<std::string> OpenFilesOf(pid_t pid) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(
           absl::StrCat("/proc/", pid, "/fd"))) {
    std::error_code gone;
    int fd = -1;
    if (!absl::SimpleAtoi(entry.path().filename().native(), &fd)) continue;
    if (fd <= STDERR_FILENO) continue;
    files.push_back(std::filesystem::read_symlink(entry, gone).native());
  }
  return files;
}

struct UnixSocket {
  bool listens = false;
  std::string path;
};

// Returns the Unix sockets of this network namespace by inode.
//
// Source: man 5 proc, /proc/net/unix; kernel include/linux/net.h, SO_ACCEPTCON.
std::map<std::string, UnixSocket> UnixSockets() {
  std::map<std::string, UnixSocket> sockets;
  std::ifstream table("/proc/net/unix");
  std::string line;
  std::getline(table, line);  // the header
  while (std::getline(table, line)) {
    const std::vector<std::string> words =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() < 7) continue;
    const uint64_t flags = std::strtoull(words[3].c_str(), nullptr, 16);
    sockets[words[6]] = {(flags & 0x10000) != 0,
                         words.size() > 7 ? words[7] : ""};
  }
  return sockets;
}

// _TestProcess.test_forkserver_auth_is_enabled. There is no key, for there is
// no door: only who has inherited an end of the socket can speak to the server.
TEST_F(ForkServerConformanceTest, NobodyElseCanReachIt) {
  const auto sockets = UnixSockets();
  for (const pid_t pid : {Server(), getpid()}) {
    int found = 0;
    for (const std::string& file : OpenFilesOf(pid)) {
      absl::string_view inode = file;
      if (!absl::ConsumePrefix(&inode, "socket:[")) continue;
      absl::ConsumeSuffix(&inode, "]");
      const auto socket = sockets.find(std::string(inode));
      if (socket == sockets.end()) continue;
      ++found;
      EXPECT_FALSE(socket->second.listens) << file;
      EXPECT_EQ(socket->second.path, "") << file;
    }
    EXPECT_GE(found, 1) << "its end of the pair, at least";
  }
}

// _TestProcess.test_forkserver_without_auth_fails
TEST_F(ForkServerConformanceTest, WrongFirstMessageEndsThatServerOnly) {
  LeakCheck leak_check;
  const pid_t server = Server();
  const absl::string_view wrong[] = {
      "",                        // none at all
      {"\0\0\0\0", 4},           // without the ledger
      {"\0\0\0\5hello", 9},      // likewise
      {"\0\0\0\5he", 6},         // cut short
      "GET / HTTP/1.1\r\n\r\n",  // of another protocol
      {"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 12},  // endless
  };
  for (const absl::string_view message : wrong) {
    auto sockets = CreateSocketPair();
    ASSERT_THAT(sockets, IsOk());
    auto other = internal::ExecuteSelf(internal::Role::kForkServer,
                                       sockets->second.get());
    ASSERT_THAT(other, IsOk());
    sockets->second.Close();
    ASSERT_THAT(WriteAll(sockets->first.get(), message), IsOk());
    ASSERT_EQ(shutdown(sockets->first.get(), SHUT_WR), 0);
    EXPECT_THAT(HasEnded(other->pidfd), IsOkAndHolds(true));
    EXPECT_THAT(ReapChild(other->pidfd),
                IsOkAndHolds(Optional(message.empty() ? 0 : 1)));
    // It has said nothing that anybody could make use of.
    EXPECT_THAT(ReadToEnd(sockets->first.get()), IsOkAndHolds(""));
  }
  EXPECT_EQ(RunOne(8), 8);
  EXPECT_EQ(Server(), server);
}

}  // namespace
}  // namespace mp
