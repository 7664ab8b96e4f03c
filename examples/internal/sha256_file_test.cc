#include "examples/internal/sha256_file.h"

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "examples/internal/test_tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace examples {
namespace {

using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;

absl::StatusOr<std::string> HexOf(const std::string& path) {
  absl::StatusOr<Sha256FileHasher> hasher = Sha256FileHasher::Create();
  if (!hasher.ok()) return hasher.status();
  const absl::StatusOr<Sha256Digest> digest =
      hasher->Hash(path, [](size_t) { return absl::OkStatus(); });
  if (!digest.ok()) return digest.status();
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest->data()), 32));
}

class Sha256FileTest : public ::testing::Test {
 protected:
  LeakCheck leak_check_;
  TestTree tree_;
};

// The expected digests are those of FIPS 180-2, appendix B, and of NIST's test
// vectors for the empty message.
TEST_F(Sha256FileTest, HashesAsTheStandardSays) {
  EXPECT_THAT(HexOf(tree_.MakeFile("empty", "")),
              IsOkAndHolds("e3b0c44298fc1c149afbf4c8996fb924"
                           "27ae41e4649b934ca495991b7852b855"));
  EXPECT_THAT(HexOf(tree_.MakeFile("abc", "abc")),
              IsOkAndHolds("ba7816bf8f01cfea414140de5dae2223"
                           "b00361a396177a9cb410ff61f20015ad"));
}

TEST_F(Sha256FileTest, HashesAFileOfManyBuffers) {
  EXPECT_THAT(HexOf(tree_.MakeFile("million", std::string(1000000, 'a'))),
              IsOkAndHolds("cdc76e5c9914fb9281a1c7e284d73e67"
                           "f1809a48a497200e046d39ccc7112cd0"));
}

TEST_F(Sha256FileTest, OneHasherHashesManyFiles) {
  const std::string abc = tree_.MakeFile("abc", "abc");
  auto hasher = Sha256FileHasher::Create();
  ASSERT_TRUE(hasher.ok());
  const auto ignore = [](size_t) { return absl::OkStatus(); };
  const absl::StatusOr<Sha256Digest> first = hasher->Hash(abc, ignore);
  ASSERT_FALSE(hasher->Hash(tree_.PathOf("none"), ignore).ok());
  EXPECT_EQ(*hasher->Hash(abc, ignore), *first);
}

TEST_F(Sha256FileTest, TellsWhatItReadsAndCanBeStopped) {
  const std::string path = tree_.MakeFile("million", std::string(1000000, 'a'));
  auto hasher = Sha256FileHasher::Create();
  ASSERT_TRUE(hasher.ok());
  size_t told = 0;
  ASSERT_TRUE(hasher
                  ->Hash(path,
                         [&](size_t bytes) {
                           told += bytes;
                           return absl::OkStatus();
                         })
                  .ok());
  EXPECT_EQ(told, 1000000);
  EXPECT_THAT(
      hasher->Hash(path, [](size_t) { return absl::CancelledError("stop"); }),
      StatusIs(absl::StatusCode::kCancelled, "stop"));
}

TEST_F(Sha256FileTest, SaysWhatErrnoSays) {
  EXPECT_THAT(
      HexOf(tree_.PathOf("none")),
      StatusIs(absl::StatusCode::kNotFound, "No such file or directory"));
  EXPECT_THAT(
      HexOf(tree_.path()),
      StatusIs(absl::StatusCode::kFailedPrecondition, "Is a directory"));
  // Its first page is not mapped, so that a read at its start fails.
  EXPECT_THAT(HexOf("/proc/self/mem"),
              StatusIs(absl::StatusCode::kUnknown, "Input/output error"));
}

TEST_F(Sha256FileTest, DoesNotWaitForTheWriterOfAFifo) {
  tree_.MakeFifo("fifo");
  EXPECT_THAT(HexOf(tree_.PathOf("fifo")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "Not a regular file any more"));
}

TEST_F(Sha256FileTest, DoesNotFollowALinkThatHasTakenTheFilesPlace) {
  tree_.MakeFile("abc", "abc");
  tree_.MakeLink("abc", "link");
  EXPECT_FALSE(HexOf(tree_.PathOf("link")).ok());
}

}  // namespace
}  // namespace examples
