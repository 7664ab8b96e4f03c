#include "mp/process/internal/printable.h"

#include <string>

#include "gtest/gtest.h"

namespace mp::internal {
namespace {

TEST(PrintableTest, TextStaysAsItIs) {
  EXPECT_EQ(Printable(""), "");
  EXPECT_EQ(Printable("one\ntwo ~"), "one\ntwo ~");
  EXPECT_EQ(Printable("\u00e4 \u20ac \U0001f600"), "\u00e4 \u20ac \U0001f600");
}

TEST(PrintableTest, ControlsAreEscaped) {
  EXPECT_EQ(Printable("\x1b[31m"), "\\x1b[31m");
  EXPECT_EQ(Printable("\r\x7f"), "\\x0d\\x7f");
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b");  // as good as ESC [
}

TEST(PrintableTest, BytesThatAreNoUtf8AreEscaped) {
  EXPECT_EQ(Printable("\xff"), "\\xff");
  EXPECT_EQ(Printable("\xc3"), "\\xc3");                    // cut short
  EXPECT_EQ(Printable("\xe2\x82"), "\\xe2\\x82");           // likewise
  EXPECT_EQ(Printable("\xc0\x8a"), "\\xc0\\x8a");           // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
}

TEST(PrintableTest, EveryByteGivesSomethingPrintable) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string pair = {static_cast<char>(first),
                                static_cast<char>(second)};
      const std::string once = Printable(pair);
      EXPECT_EQ(Printable(once), once);
    }
  }
}

}  // namespace
}  // namespace mp::internal
