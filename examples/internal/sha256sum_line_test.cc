#include "examples/internal/sha256sum_line.h"

#include <string>

#include "examples/internal/sha256_file.h"
#include "gtest/gtest.h"

namespace examples {
namespace {

constexpr Sha256Digest kDigest = {0x00, 0x7f, 0xff};
constexpr char kHex[] =
    "007fff0000000000000000000000000000000000000000000000000000000000";

TEST(Sha256sumLineTest, IsTheDigestTwoSpacesAndTheName) {
  EXPECT_EQ(Sha256sumLine(kDigest, "a/b c"), std::string(kHex) + "  a/b c\n");
}

TEST(Sha256sumLineTest, EscapesWhatWouldBreakTheLine) {
  EXPECT_EQ(Sha256sumLine(kDigest, "a\\b"),
            "\\" + std::string(kHex) + "  a\\\\b\n");
  EXPECT_EQ(Sha256sumLine(kDigest, "\n\n"),
            "\\" + std::string(kHex) + "  \\n\\n\n");
  EXPECT_EQ(Sha256sumLine(kDigest, "a\r"),
            "\\" + std::string(kHex) + "  a\\r\n");
  EXPECT_EQ(Sha256sumLine(kDigest, "\\n"),
            "\\" + std::string(kHex) + "  \\\\n\n");
}

TEST(Sha256sumLineTest, LeavesOtherBytesAlone) {
  EXPECT_EQ(Sha256sumLine(kDigest, "\t\x1b\xff'\""),
            std::string(kHex) + "  \t\x1b\xff'\"\n");
}

}  // namespace
}  // namespace examples
