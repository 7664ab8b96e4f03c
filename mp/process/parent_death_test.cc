// A parent is killed at random moments while it starts and joins processes:
// afterwards nothing of its family is left, and those who were to outlive it
// have seen its death.
//
// 200 times for each start method, a twentieth of it under sanitizers; or as
// often as MP_TEST_ROUNDS says. MP_TEST_SEED repeats a run as far as it can be
// repeated.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/sanitizers.h"

namespace mp {
namespace {

using ::testing::IsEmpty;

constexpr char kFamily[] = "mp/process/testdata/family";
constexpr absl::Duration kLong = absl::Seconds(60);
constexpr bool kIsSlow = kAddressSanitizer || kThreadSanitizer;
// By then a family has started some of each kind.
constexpr int kLatestMomentMicros = kIsSlow ? 600'000 : 60'000;

int FromEnvironment(const char* variable, int otherwise) {
  const char* const text = getenv(variable);
  int number;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number
                                                            : otherwise;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The pids of all processes, of whatever parent, that began with `variable` in
// their environment.
std::vector<std::string> ProcessesWith(const std::string& variable) {
  std::vector<std::string> pids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    int pid;
    const std::string name = entry.path().filename();
    if (!absl::SimpleAtoi(name, &pid) || pid == getpid()) continue;
    if (absl::StrContains(ReadFile(absl::StrCat("/proc/", name, "/environ")),
                          variable)) {
      pids.push_back(name);
    }
  }
  return pids;
}

// What one family said, by kind and pid.
struct Story {
  std::set<pid_t> children;
  std::set<pid_t> done;
  std::set<pid_t> orphaned;
  std::set<pid_t> daemons;
};

Story Understand(const std::string& text) {
  Story story;
  for (const absl::string_view line :
       absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    pid_t pid = 0;
    if (words.size() == 3 && absl::SimpleAtoi(words[1], &pid)) {
      (words[0] == "daemon"     ? story.daemons
       : words[2] == "begun"    ? story.children
       : words[2] == "orphaned" ? story.orphaned
                                : story.done)
          .insert(pid);
    } else if (line != "up") {
      ADD_FAILURE() << "a strange line: " << line;
    }
  }
  return story;
}

// A running family. Its orphans become children of this process.
class Family {
 public:
  Family(const std::string& method, int threads, int seed, std::string variable)
      : variable_(std::move(variable)) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    reader_ = Fd(ends[0]);
    const Fd writer(ends[1]);
    constexpr int kReport = 100;
    std::vector<std::string> words = {kFamily, method, absl::StrCat(threads),
                                      absl::StrCat(seed),
                                      absl::StrCat(kReport)};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, writer.get(), kReport);
    EXPECT_EQ(
        posix_spawn(&pid_, kFamily, &actions, nullptr, argv.data(), environ),
        0);
    posix_spawn_file_actions_destroy(&actions);
  }

  void AwaitUp() {
    ASSERT_TRUE(
        WaitForFd(reader_.get(), POLLIN, Deadline(kLong)).value_or(false));
    EXPECT_TRUE(ReadSome());
  }

  void KillParent() {
    EXPECT_EQ(kill(pid_, SIGKILL), 0);
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "the parent ended by itself: " << status;
  }

  // Returns all that is said until nobody is left who could say more.
  std::string Listen() {
    const Deadline deadline(kLong);
    while (WaitForFd(reader_.get(), POLLIN, deadline).value_or(false)) {
      if (!ReadSome()) return text_;
    }
    ADD_FAILURE() << "these hold the report: "
                  << ::testing::PrintToString(ProcessesWith(variable_));
    return text_;
  }

  // Waits for all that this process has for children, and returns how each
  // ended.
  std::map<pid_t, int> ReapAll() {
    std::map<pid_t, int> ends;
    const Deadline deadline(kLong);
    while (!deadline.Expired()) {
      int status = 0;
      const pid_t pid = waitpid(-1, &status, WNOHANG);
      if (pid > 0) {
        ends[pid] = status;
      } else if (pid < 0) {
        EXPECT_EQ(errno, ECHILD);
        return ends;
      } else {
        absl::SleepFor(absl::Milliseconds(1));
      }
    }
    for (const std::string& pid : ProcessesWith(variable_)) {
      ADD_FAILURE() << "process " << pid << " is left: "
                    << ReadFile(absl::StrCat("/proc/", pid, "/status"));
      kill(atoi(pid.c_str()), SIGKILL);
    }
    while (waitpid(-1, nullptr, 0) > 0) continue;
    return ends;
  }

 private:
  bool ReadSome() {
    char buffer[4096];
    const ssize_t size = read(reader_.get(), buffer, sizeof(buffer));
    if (size > 0) text_.append(buffer, size);
    return size > 0;
  }

  const std::string variable_;
  pid_t pid_ = -1;
  Fd reader_;
  std::string text_;
};

class ParentDeathTest : public ::testing::TestWithParam<std::string> {
 protected:
  ParentDeathTest()
      : seed_(FromEnvironment("MP_TEST_SEED",
                              static_cast<int>(std::random_device()() >> 4))),
        random_(seed_) {
    std::cout << "MP_TEST_SEED=" << seed_ << std::endl;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    temporary_ = ::testing::TempDir() + "/mp_family_XXXXXX";
    if (mkdtemp(temporary_.data()) == nullptr) std::abort();
    setenv("TMPDIR", temporary_.c_str(), 1);
  }
  ~ParentDeathTest() override { std::filesystem::remove_all(temporary_); }

  void LiveAndDie() {
    // Its children, of whatever start method, have it too.
    const std::string variable = absl::StrCat("TMPDIR=", temporary_);
    Family family(GetParam(), /*threads=*/1 + random_() % 2,
                  static_cast<int>(random_() % 1'000'000), variable);
    family.AwaitUp();
    absl::SleepFor(absl::Microseconds(random_() % kLatestMomentMicros));
    family.KillParent();
    const Story story = Understand(family.Listen());
    const std::map<pid_t, int> ends = family.ReapAll();
    Judge(story, ends);
    // With its processes go all memory and sockets that have no name.
    EXPECT_THAT(ProcessesWith(variable), IsEmpty());
    EXPECT_THAT(FilesLeft(), IsEmpty());
  }

  std::vector<std::string> FilesLeft() const {
    std::vector<std::string> left;
    for (const auto& entry : std::filesystem::directory_iterator(temporary_)) {
      const std::string name = entry.path().filename();
      // Thread Sanitizer's own, in its first steps.
      if (kThreadSanitizer && absl::StartsWith(name, "tsan.")) continue;
      left.push_back(name);
    }
    return left;
  }

  void Judge(const Story& story, const std::map<pid_t, int>& ends) {
    for (const pid_t child : story.children) {
      EXPECT_TRUE(story.done.count(child) + story.orphaned.count(child) == 1)
          << "child " << child << " has not seen its parent's death";
    }
    for (const auto& [pid, status] : ends) {
      if (story.orphaned.count(pid) > 0) {
        EXPECT_EQ(status, 0) << "of an orphan";
      }
      if (story.daemons.count(pid) > 0) {
        EXPECT_EQ(status, SIGKILL) << "of a daemon";
        ++daemons_;
      }
    }
    orphans_ += static_cast<int>(story.orphaned.size());
  }

  const int seed_;
  std::mt19937 random_;
  std::string temporary_;
  // How many were there when their parents were killed.
  int orphans_ = 0;
  int daemons_ = 0;
};

INSTANTIATE_TEST_SUITE_P(StartMethods, ParentDeathTest,
                         ::testing::Values("forkserver", "fork", "spawn",
                                           "mixed"),
                         [](const auto& info) { return info.param; });

TEST_P(ParentDeathTest, LeavesNothingButTheNewsOfIt) {
  const int rounds = FromEnvironment("MP_TEST_ROUNDS", kIsSlow ? 10 : 200);
  for (int i = 0; i < rounds && !HasFailure(); ++i) {
    SCOPED_TRACE(absl::StrCat("round ", i, ", MP_TEST_SEED=", seed_));
    LiveAndDie();
  }
  EXPECT_GT(orphans_, rounds / 4) << "too few to tell";
  EXPECT_GT(daemons_, rounds / 8) << "too few to tell";
  std::cout << orphans_ << " orphans and " << daemons_ << " daemons in "
            << rounds << " rounds" << std::endl;
}

}  // namespace
}  // namespace mp
