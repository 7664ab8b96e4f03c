// After many starts this process is as before: its descriptors, its threads,
// its children and its memory.
//
// 10,000 starts in a row and 500 children at once with the argument --full
// (--test_arg=--full --test_timeout=900) or with MP_TEST_FULL in the
// environment; without, a twentieth of it.

#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/sanitizers.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/init.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AwaitRelease;
using ::mp::internal::Copy;
using ::mp::internal::ForkServer;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::testing::Optional;

constexpr absl::Duration kLong = absl::Seconds(120);
bool is_full = false;

int Many() { return is_full ? 10'000 : 500; }
int AtOnce() { return is_full ? 500 : 25; }

// What the kernel has mapped for this process.
struct Memory {
  int64_t resident_kb = 0;
  int64_t data_kb = 0;
  int mappings = 0;
};

Memory MemoryNow() {
  Memory memory;
  std::string line;
  std::ifstream status("/proc/self/status");
  while (std::getline(status, line)) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() < 2) continue;
    if (words[0] == "VmRSS:") {
      EXPECT_TRUE(absl::SimpleAtoi(words[1], &memory.resident_kb));
    }
    if (words[0] == "VmData:") {
      EXPECT_TRUE(absl::SimpleAtoi(words[1], &memory.data_kb));
    }
  }
  std::ifstream maps("/proc/self/maps");
  while (std::getline(maps, line)) ++memory.mappings;
  return memory;
}

// Fails the test if there is more memory at its end. The sanitizers keep what
// was freed, so with them only descriptors, threads and children count.
class MemoryCheck {
 public:
  MemoryCheck() : before_(MemoryNow()) {}
  ~MemoryCheck() {
    const Memory now = MemoryNow();
    std::cout << "resident " << before_.resident_kb << " -> " << now.resident_kb
              << " KiB, data " << before_.data_kb << " -> " << now.data_kb
              << " KiB, mappings " << before_.mappings << " -> " << now.mappings
              << std::endl;
    if (kAddressSanitizer || kThreadSanitizer) return;
    EXPECT_LE(now.resident_kb, before_.resident_kb + 1024);
    EXPECT_LE(now.data_kb, before_.data_kb + 1024);
    EXPECT_LE(now.mappings, before_.mappings + 4);
  }

 private:
  const Memory before_;
};

void BeThere(const Report& report, const Report& release) {
  Say(report, ".");
  AwaitRelease(release);
}

class ManyStartsTest : public internal::StartMethodTest {
 protected:
  static void StartInARow(int count) {
    for (int i = 0; i < count; ++i) {
      Process process(
          {.context = GetParam()}, [](int code) { Exit(code); }, i % 100);
      ASSERT_THAT(process.Start(), IsOk()) << "start " << i;
      ASSERT_THAT(process.Join(kLong), IsOk());
      ASSERT_THAT(process.exitcode(), Optional(i % 100));
    }
  }

  static void StartAtOnce(int count) {
    auto release = testing::Marker::Create();
    ASSERT_THAT(release, IsOk());
    const Report reader = Copy(release->reader());
    Listener listener;
    std::vector<Process> processes;
    for (int i = 0; i < count; ++i) {
      processes.emplace_back(ProcessOptions{.context = GetParam()}, BeThere,
                             listener.report(), reader);
      ASSERT_THAT(processes.back().Start(), IsOk()) << "start " << i;
    }
    listener.Hear(static_cast<size_t>(count));  // all of them run now
    for (Process& process : processes) EXPECT_TRUE(process.IsAlive());
    ASSERT_THAT(release->Signal(), IsOk());  // they do not take it
    for (Process& process : processes) {
      ASSERT_THAT(process.Join(kLong), IsOk());
      EXPECT_THAT(process.exitcode(), Optional(0));
    }
  }
};

MP_INSTANTIATE_TEST_SUITE(ManyStartsTest, AllStartMethods);

TEST_P(ManyStartsTest, InARowLeaveNothingBehind) {
  StartInARow(50);  // a fork server may start, and stays
  {
    LeakCheck leak_check;
    MemoryCheck memory_check;
    StartInARow(Many());
  }
  ForkServer::Get().Stop();
}

TEST_P(ManyStartsTest, AtOnceLeaveNothingBehind) {
  // The C library keeps the stacks and heaps of threads that have ended, for as
  // many as there were at once.
  StartAtOnce(GetParam() == StartMethod::kThread ? AtOnce() : 5);
  {
    LeakCheck leak_check;
    MemoryCheck memory_check;
    StartAtOnce(AtOnce());
  }
  ForkServer::Get().Stop();
}

// Some kilobytes for each child have to fit, and a few descriptors.
void RaiseDescriptorLimit() {
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

void SetUpManyStarts(int argc, char** argv) {
  is_full = std::getenv("MP_TEST_FULL") != nullptr;
  for (int i = 1; i < argc; ++i) {
    if (absl::string_view(argv[i]) == "--full") is_full = true;
  }
  RaiseDescriptorLimit();
}

}  // namespace mp

int main(int argc, char** argv) {
  mp::Init(argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  mp::SetUpManyStarts(argc, argv);
  return RUN_ALL_TESTS();
}
