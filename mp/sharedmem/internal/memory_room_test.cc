#include "mp/sharedmem/internal/memory_room.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"

// What takes longer than until the next signal, on kernels of which fallocate()
// undoes all that it has done then.
namespace {
off_t interrupted_above = INT64_MAX;
}  // namespace

// In place of the C library's.
extern "C" int fallocate(int fd, int mode, off_t offset, off_t size) {
  if (size > interrupted_above) {
    errno = EINTR;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fallocate, fd, mode, offset, size));
}

namespace mp::internal {
namespace {

constexpr int64_t kMebibyte = int64_t{1} << 20;

// A machine of files below a folder.
class MemoryRoomTest : public ::testing::Test {
 protected:
  MemoryRoomTest() {
    // 1 GiB of which half is available; a 32nd stays with others.
    Write("/proc/meminfo",
          "MemTotal:       1048576 kB\nMemFree: 7 kB\n"
          "MemAvailable:    524288 kB\n");
  }
  ~MemoryRoomTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  MemoryRoom Room() const { return FindMemoryRoom(root_); }

  const std::string root_ = ::testing::TempDir() + "/memory_room_test";
};

TEST_F(MemoryRoomTest, MachineLimits) {
  EXPECT_EQ(Room().bytes, (512 - 32) * kMebibyte);
  EXPECT_EQ(Room().limit, "MemAvailable");
}

TEST_F(MemoryRoomTest, NothingReadableDoesNotLimit) {
  EXPECT_EQ(FindMemoryRoom("/no/such/folder").bytes, INT64_MAX);
}

TEST_F(MemoryRoomTest, CgroupOfVersion2AndThoseAroundItLimit) {
  Write("/proc/self/cgroup", "0::/outer/inner\n");
  const std::string outer = "/sys/fs/cgroup/outer";
  Write(outer + "/inner/memory.max", "max\n");
  Write(outer + "/inner/memory.current", "5\n");
  EXPECT_EQ(Room().limit, "MemAvailable");
  Write(outer + "/memory.max", absl::StrCat(64 * kMebibyte, "\n"));
  Write(outer + "/memory.current", absl::StrCat(40 * kMebibyte, "\n"));
  Write(outer + "/memory.stat",
        absl::StrCat("active_file 9\ninactive_file ", 10 * kMebibyte, "\n"));
  EXPECT_EQ(Room().limit, root_ + outer);
  EXPECT_EQ(Room().bytes, (64 - 40 + 10 - 2) * kMebibyte);
}

TEST_F(MemoryRoomTest, CgroupOfVersion1Limits) {
  Write("/proc/self/cgroup", "5:cpu,memory:/job\n4:devices:/other\n0::/\n");
  const std::string job = "/sys/fs/cgroup/memory/job";
  Write(job + "/memory.limit_in_bytes", absl::StrCat(64 * kMebibyte, "\n"));
  Write(job + "/memory.usage_in_bytes", absl::StrCat(63 * kMebibyte, "\n"));
  EXPECT_EQ(Room().bytes, 0);
  Write(job + "/memory.stat",
        absl::StrCat("total_inactive_file ", 11 * kMebibyte, "\n"));
  EXPECT_EQ(Room().bytes, (1 + 11 - 2) * kMebibyte);
}

TEST_F(MemoryRoomTest, CgroupSeenFromInsideIsAtTheTop) {
  Write("/proc/self/cgroup", "0::/../hidden\n");
  Write("/sys/fs/cgroup/memory.max", "0\n");
  Write("/sys/fs/cgroup/memory.current", "0\n");
  EXPECT_EQ(Room().bytes, 0);
}

TEST(AllocatePagesTest, GetsDoneThoughEachLargeStepIsInterrupted) {
  const Fd fd(memfd_create("interrupted", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(fd.get(), 8 * kMebibyte), 0);
  interrupted_above = 100'000;
  EXPECT_TRUE(AllocatePages(fd.get(), 8 * kMebibyte).ok());
  interrupted_above = INT64_MAX;
  struct stat info;
  ASSERT_EQ(fstat(fd.get(), &info), 0);
  EXPECT_EQ(info.st_blocks * 512, 8 * kMebibyte);
}

}  // namespace
}  // namespace mp::internal
