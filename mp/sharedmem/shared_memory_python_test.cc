// SharedMemory and ShareableList together with CPython's, both ways round.

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/subprocess.h"
#include "mp/sharedmem/shareable_item.h"
#include "mp/sharedmem/shareable_list.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;

using Items = std::vector<ShareableItem>;

// The distribution's.
constexpr char kPython[] = "/usr/bin/python3";

// Before each script. Python removes what it has merely opened, unless told.
constexpr char kPrologue[] = R"(
import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory, ShareableList

def untrack(block):
    resource_tracker.unregister(block._name, "shared_memory")
    return block
)";

absl::StatusOr<CompletedSubprocess> RunPython(const std::string& script,
                                              std::string argument = "") {
  return Subprocess::Run({kPython, "-c", kPrologue + script, argument},
                         {.capture_output = true, .timeout = absl::Minutes(2)});
}

class SharedMemoryPythonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto probe = RunPython("");
    if (absl::IsNotFound(probe.status())) {
      GTEST_SKIP() << "there is no " << kPython;
    }
    ASSERT_THAT(probe, IsOk());
    if (!probe->Check().ok()) {
      GTEST_SKIP() << kPython << " has no shared_memory: " << probe->err;
    }
  }

  // Runs a script, which must succeed, and returns what it printed.
  std::string Python(const std::string& script, std::string argument = "") {
    const auto result = RunPython(script, argument);
    EXPECT_THAT(result, IsOk());
    if (!result.ok()) return "";
    EXPECT_THAT(result->Check(), IsOk());
    EXPECT_EQ(result->err, "");
    return result->out;
  }
};

TEST_F(SharedMemoryPythonTest, PythonFindsOurBlock) {
  const auto block = SharedMemory::From("from C++", {.named = true});
  ASSERT_THAT(block, IsOk());
  EXPECT_EQ(Python(R"(
block = untrack(SharedMemory(sys.argv[1]))
print(block.name, block.size, bytes(block.buf))
block.buf[0:4] = b"back")",
                   block->name()),
            absl::StrCat(block->name(), " 8 b'from C++'\n"));
  EXPECT_EQ(block->view(), "back C++");
  EXPECT_THAT(block->Unlink(), IsOk());
}

TEST_F(SharedMemoryPythonTest, WeFindPythonsBlock) {
  std::string name = Python(R"(
block = untrack(SharedMemory(create=True, size=5001))
block.buf[5000] = 65
print(block.name, end=""))");
  const auto block = SharedMemory::Open(name);
  ASSERT_THAT(block, IsOk());
  EXPECT_EQ(block->size(), 5001);
  EXPECT_EQ(block->view()[5000], 'A');
  // It is not ours to remove.
  ASSERT_THAT(SharedMemory::List(), IsOk());
  EXPECT_THAT(SharedMemory::Open(name), IsOk());
  ASSERT_THAT(block->CopyFrom("C++"), IsOk());
  EXPECT_EQ(Python(R"(
block = SharedMemory(sys.argv[1])
print(bytes(block.buf[:3]))
block.unlink())",
                   name),
            "b'C++'\n");
  EXPECT_THAT(block->Unlink(), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(SharedMemoryPythonTest, NameIsTakenForBoth) {
  const auto block = SharedMemory::Create(10, {.named = true});
  ASSERT_THAT(block, IsOk());
  EXPECT_EQ(Python(R"(
try:
    SharedMemory(sys.argv[1], create=True, size=3)
except FileExistsError:
    print("exists"))",
                   block->name()),
            "exists\n");
  EXPECT_THAT(block->Unlink(), IsOk());
}

TEST_F(SharedMemoryPythonTest, PythonReadsAndWritesOurList) {
  const auto list = ShareableList::Create(
      {1, 2.5, true, "abc", ShareableBytes{"xy"}, {}, "é€", -7, "123456789"},
      {.named = true});
  ASSERT_THAT(list, IsOk());
  EXPECT_EQ(Python(R"(
a = ShareableList(name=sys.argv[1])
untrack(a.shm)
print(ascii(list(a)), a.format)
a[0] = None; a[1] = "eight by"; a[3] = b"\xff"; a[4] = 2**62; a[8] = "x" * 16
try:
    a[3] = "123456789"
except ValueError as error:
    print(error))",
                   list->shm().name()),
            "[1, 2.5, True, 'abc', b'xy', None, '\\xe9\\u20ac', -7, "
            "'123456789'] qdxxxxxxx?8s8sxxxxxx?x8sq16s\n"
            "bytes/str item exceeds available storage\n");
  EXPECT_THAT(list->Items(), IsOkAndHolds(Items{{},
                                                "eight by",
                                                true,
                                                ShareableBytes{"\xff"},
                                                int64_t{1} << 62,
                                                {},
                                                "é€",
                                                -7,
                                                std::string(16, 'x')}));
  EXPECT_THAT(list->shm().Unlink(), IsOk());
}

TEST_F(SharedMemoryPythonTest, WeReadAndWritePythonsList) {
  const std::string name = Python(R"(
a = ShareableList(["howdy", b"HoWdY", -273.154, 100, None, True, 42, ""])
untrack(a.shm)
print(a.shm.name, end=""))");
  const auto list = ShareableList::Open(name);
  ASSERT_THAT(list, IsOk());
  EXPECT_THAT(
      list->Items(),
      IsOkAndHolds(Items{
          "howdy", ShareableBytes{"HoWdY"}, -273.154, 100, {}, true, 42, ""}));
  ASSERT_THAT(list->Set(-1, "late"), IsOk());
  ASSERT_THAT(list->Set(0, 0.5), IsOk());
  ASSERT_THAT(list->Set(3, {}), IsOk());
  EXPECT_EQ(Python(R"(
a = ShareableList(name=sys.argv[1])
print(list(a), a.count(42), a.index("late"))
a.shm.unlink())",
                   name),
            "[0.5, b'HoWdY', -273.154, None, None, True, 42, 'late'] 1 7\n");
}

TEST_F(SharedMemoryPythonTest, ListsAreTheSameByteForByte) {
  const Items items = {1,
                       2.5,
                       true,
                       "abc",
                       ShareableBytes{"xy"},
                       {},
                       "",
                       "12345678",
                       std::string(1000, 'x'),
                       false,
                       -1};
  const auto ours = ShareableList::Create(items);
  ASSERT_THAT(ours, IsOk());
  const std::string name = Python(R"(
a = ShareableList([1, 2.5, True, "abc", b"xy", None, "", "12345678", "x" * 1000,
                   False, -1])
untrack(a.shm)
print(a.shm.name, end=""))");
  const auto block = SharedMemory::Open(name);
  ASSERT_THAT(block, IsOk());
  EXPECT_TRUE(block->view() == ours->shm().view());
  EXPECT_THAT(block->Unlink(), IsOk());
}

TEST_F(SharedMemoryPythonTest, NulsAtTheEndCostPythonNoMoreThanItsOwn) {
  const std::string text("ab\0\0", 4);
  const auto list = ShareableList::Create({text, 5}, {.named = true});
  ASSERT_THAT(list, IsOk());
  EXPECT_EQ(Python(R"(
a = ShareableList(name=sys.argv[1])
untrack(a.shm)
print(list(a))
a[0] = "12345678"
print(list(a)))",
                   list->shm().name()),
            "['ab', 5]\n['12345678', 5]\n");
  EXPECT_THAT(list->At(0), IsOkAndHolds(ShareableItem("12345678")));
  EXPECT_THAT(list->shm().Unlink(), IsOk());
}

}  // namespace
}  // namespace mp
