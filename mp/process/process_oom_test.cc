// A process that the kernel really kills for want of memory.
//
// Runs where this process may make a cgroup (version 2) below its own and give
// it a limit of memory, as a service with delegated cgroups may.

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/process.h"
#include "mp/process/process_report.h"
#include "mp/testing/child.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::RunInChild;

constexpr size_t kLimitBytes = 96 << 20;

bool Write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

// A cgroup below that of this process, with a limit of memory.
class Cgroup {
 public:
  // Returns what is missing for one, or nothing.
  std::string Create() {
    std::ifstream own("/proc/self/cgroup");
    std::string line;
    std::string missing = "there is no cgroup with memory";
    while (std::getline(own, line)) {
      absl::string_view path = line;
      if (absl::ConsumePrefix(&path, "0::")) {
        missing = Make(absl::StrCat("/sys/fs/cgroup", path), "memory.max");
      } else if (const size_t memory = line.find(":memory:");
                 memory != std::string::npos) {
        path.remove_prefix(memory + 8);
        missing = Make(absl::StrCat("/sys/fs/cgroup/memory", path),
                       "memory.limit_in_bytes");
      }
      if (missing.empty()) return "";
    }
    return missing;
  }
  ~Cgroup() {
    if (made_) rmdir(path_.c_str());
  }

  bool Enter() const { return Write(path_ + "/cgroup.procs", "0"); }

 private:
  // Makes one whose file `limit` takes the limit.
  std::string Make(const std::string& parent, const std::string& limit) {
    path_ = absl::StrCat(parent, "/mp-oom-", getpid());
    if (mkdir(path_.c_str(), 0755) != 0) return "may not make " + path_;
    made_ = Write(absl::StrCat(path_, "/", limit), absl::StrCat(kLimitBytes));
    if (!made_) {
      rmdir(path_.c_str());
      return "the memory of " + path_ + " cannot be limited";
    }
    Write(path_ + "/memory.swap.max", "0");  // where there is any
    return "";
  }

  std::string path_;
  bool made_ = false;
};

void EatMemory() {
  const std::unique_ptr<char[]> memory(new char[4 * kLimitBytes]);
  for (size_t i = 0; i < 4 * kLimitBytes; i += 1024) {
    static_cast<volatile char*>(memory.get())[i] = 1;
  }
}

absl::Status ReportOnOom() {
  Process process({.context = StartMethod::kFork}, EatMemory);
  MP_RETURN_IF_ERROR(process.Start());
  MP_RETURN_IF_ERROR(process.Join(absl::Seconds(60)));
  MP_ASSIGN_OR_RETURN(const ProcessReport report, process.Report());
  if (report.signal() == SIGKILL && report.oom_killed == OomKilled::kYes) {
    return absl::OkStatus();
  }
  return absl::InternalError(report.ToString());
}

TEST(ProcessOomTest, IsTold) {
  Cgroup cgroup;
  const std::string missing = cgroup.Create();
  if (!missing.empty()) GTEST_SKIP() << missing;
  Child child = RunInChild([&]() -> absl::Status {
    if (!cgroup.Enter()) return absl::InternalError("cannot enter the cgroup");
    return ReportOnOom();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

}  // namespace
}  // namespace mp
