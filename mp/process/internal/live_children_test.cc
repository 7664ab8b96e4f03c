#include "mp/process/internal/live_children.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/child.h"

namespace mp::internal {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::RunInChild;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Each test looks in a process of its own, as only one that is about to end may
// do so, and as no destructor returns then.
Child RunAndEnd(absl::FunctionRef<void()> body) {
  return RunInChild([&] {
    body();
    return absl::OkStatus();
  });
}

std::vector<pid_t> Listed() {
  std::vector<pid_t> pids;
  ForEachLiveChild([&](LiveProcess& child) { pids.push_back(child.pid); });
  return pids;
}

// Not destroyed at the end of a test.
LiveChild* List(pid_t pid) { return new LiveChild(pid, -1, false); }

TEST(LiveChildrenTest, VisitsThoseThatLive) {
  Child child = RunAndEnd([] {
    List(11);
    LiveChild* const gone = List(12);
    new LiveChild(13, 7, true);
    delete gone;
    EXPECT_THAT(Listed(), ElementsAre(11, 13));
    ForEachLiveChild([](LiveProcess& child) {
      EXPECT_EQ(child.daemon, child.pid == 13);
      EXPECT_EQ(child.pidfd, child.pid == 13 ? 7 : -1);
    });
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST(LiveChildrenTest, ListsAnyNumberAndUsesPlacesAgain) {
  Child child = RunAndEnd([] {
    for (int round = 0; round < 3; ++round) {
      std::vector<std::unique_ptr<LiveChild>> many;
      for (int i = 1; i <= 500; ++i) many.emplace_back(List(i));
    }
    List(1);
    EXPECT_THAT(Listed(), SizeIs(1));
    for (int i = 2; i <= 500; ++i) List(i);
    EXPECT_THAT(Listed(), SizeIs(500));
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST(LiveChildrenTest, ListsFromManyThreads) {
  Child child = RunAndEnd([] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([i] {
        for (int k = 0; k < 1000; ++k) LiveChild passing(1000 + i, -1, false);
        for (int k = 0; k < 20; ++k) List(i + 1);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(Listed(), SizeIs(160));
    EXPECT_THAT(Listed(), ::testing::Each(::testing::Le(8)));
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST(LiveChildrenTest, ForkedChildStartsWithNone) {
  Child child = RunAndEnd([] {
    LiveChild* const parents = List(11);
    Child forked = RunAndEnd([&] {
      EXPECT_THAT(Listed(), IsEmpty());
      ForgetLiveChildren();
      EXPECT_THAT(Listed(), IsEmpty());
      List(12);
      delete parents;  // whose place is another's now
      EXPECT_THAT(Listed(), ElementsAre(12));
    });
    EXPECT_THAT(forked.Wait(), ExitedWith(0));
    EXPECT_THAT(Listed(), ElementsAre(11));
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// Returns whether a thread of this process sleeps in the kernel, and goes on
// doing so.
bool Sleeps(pid_t thread) {
  for (int i = 0; i < 10; ++i) {
    std::ifstream file(absl::StrCat("/proc/self/task/", thread, "/stat"));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    if (text.find(") S ") == std::string::npos) return false;
    usleep(2000);
  }
  return true;
}

TEST(LiveChildrenTest, PidfdStaysOpenOnceItHasBeenVisited) {
  Child child = RunAndEnd([] {
    LiveChild* const listed = List(11);
    EXPECT_THAT(Listed(), ElementsAre(11));
    std::atomic<pid_t> id{0};
    std::thread([&] {
      id = gettid();
      delete listed;
      _exit(3);  // would now close the pidfd
    }).detach();
    while (id == 0 || !Sleeps(id)) usleep(1000);
    _exit(0);
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

}  // namespace
}  // namespace mp::internal
