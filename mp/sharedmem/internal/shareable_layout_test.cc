#include "mp/sharedmem/internal/shareable_layout.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/shareable_item.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp::internal {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

using Items = std::vector<ShareableItem>;

// Memory of exactly that size, so that Address Sanitizer sees a step beyond.
class Bytes {
 public:
  explicit Bytes(absl::string_view bytes)
      : memory_(static_cast<char*>(std::malloc(bytes.size()))),
        size_(bytes.size()) {
    std::memcpy(memory_.get(), bytes.data(), size_);
  }

  absl::string_view view() const { return {memory_.get(), size_}; }
  absl::Span<char> span() const { return {memory_.get(), size_}; }
  absl::StatusOr<ShareableLayout> Parse() const {
    return ShareableLayout::Parse(view(), span());
  }
  void SetWord(size_t index, int64_t value) const {
    std::memcpy(memory_.get() + 8 * index, &value, 8);
  }

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> memory_;
  size_t size_;
};

Bytes BytesOf(const Items& items) {
  const absl::StatusOr<int64_t> size = ShareableLayout::SizeOf(items);
  MP_CHECK_OK(size.status());
  Bytes bytes(std::string(*size, '\0'));
  MP_CHECK_OK(ShareableLayout::Write(items, bytes.span()));
  return bytes;
}

const Items& Vector() {
  static const Items& items = *new Items{
      int64_t{1}, 2.5, true, "abc", ShareableBytes{"xy"}, std::monostate()};
  return items;
}

TEST(ShareableLayoutTest, BytesAreThoseOfCPython) {
  // CPython 3.11: bytes(ShareableList([1, 2.5, True, 'abc', b'xy',
  // None]).shm.buf)
  const std::string expected =
      absl::StrCat(absl::HexStringToBytes("0600000000000000"
                                          "0000000000000000"
                                          "0800000000000000"
                                          "1000000000000000"
                                          "1800000000000000"
                                          "2000000000000000"
                                          "2800000000000000"
                                          "3000000000000000"
                                          "0100000000000000"
                                          "0000000000000440"
                                          "0000000000000001"
                                          "6162630000000000"
                                          "7879000000000000"
                                          "0000000000000000"),
                   absl::HexStringToBytes("7100000000000000"
                                          "6400000000000000"
                                          "787878787878783f"
                                          "3873000000000000"
                                          "3873000000000000"
                                          "7878787878783f78"
                                          "000000010203"));
  EXPECT_EQ(absl::CHexEscape(BytesOf(Vector()).view()),
            absl::CHexEscape(expected));
}

TEST(ShareableLayoutTest, ZerosAreNoList) {
  for (const size_t size : {17, 24, 100, 4096}) {
    EXPECT_THAT(Bytes(std::string(size, '\0')).Parse(),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("empty")))
        << size;
  }
}

TEST(ShareableLayoutTest, EmptyListTakesTwoWords) {
  const Bytes bytes = BytesOf({});
  EXPECT_EQ(bytes.view(), std::string(16, '\0'));
  EXPECT_EQ(bytes.Parse()->size(), 0);
}

TEST(ShareableLayoutTest, NulsAtTheEndAreKept) {
  using std::string_literals::operator""s;
  const Items items = {"ab\0"s, ShareableBytes{"\0\0\0"s}, ""s,
                       ShareableBytes{"12345678\0"s}, "in\0side"s};
  const Bytes bytes = BytesOf(items);
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_THAT(bytes.Parse()->At(i), IsOkAndHolds(items[i]));
  }
  EXPECT_THAT(bytes.Parse()->Format(0), IsOkAndHolds("3s5x"));
  EXPECT_THAT(bytes.Parse()->Format(4), IsOkAndHolds("8s"));
}

TEST(ShareableLayoutTest, NulsAtTheEndOfALongItemAreRefusedNotLost) {
  const std::string whole(100000, 'x');
  std::string text = whole;
  text.back() = '\0';
  const Bytes bytes = BytesOf({whole});
  EXPECT_THAT(bytes.Parse()->Set(0, text),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NUL")));
  EXPECT_TRUE(*bytes.Parse()->At(0) == ShareableItem(whole));
}

TEST(ShareableLayoutTest, PlacesAreForBytesAndNotForCharacters) {
  std::string euros;
  for (int i = 0; i < 8; ++i) euros += "€";  // 3 bytes each
  const Bytes bytes = BytesOf({euros});
  EXPECT_THAT(bytes.Parse()->Format(0), IsOkAndHolds("32s"));
  EXPECT_THAT(bytes.Parse()->At(0), IsOkAndHolds(euros));
}

TEST(ShareableLayoutTest, StrMustBeUtf8) {
  constexpr auto kCode = absl::StatusCode::kInvalidArgument;
  const Bytes bytes = BytesOf({"abc"});
  for (const std::string text :
       {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82",
        "a\x80", "\xe0\x80\x80", "\xf5\x80\x80\x80"}) {
    EXPECT_THAT(ShareableLayout::SizeOf({text}), StatusIs(kCode)) << text;
    EXPECT_THAT(bytes.Parse()->Set(0, text), StatusIs(kCode));
    EXPECT_THAT(ShareableLayout::SizeOf({ShareableBytes{text}}), IsOk());
  }
  for (const std::string text : {"é", "€", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf",
                                 "\xf0\x90\x80\x80", "\xe0\xa0\x80"}) {
    EXPECT_THAT(ShareableLayout::SizeOf({text}), IsOk()) << text;
  }
}

TEST(ShareableLayoutTest, TooLongAnItemIsRefused) {
  EXPECT_THAT(ShareableLayout::SizeOf({std::string(9999991, 'x')}), IsOk());
  EXPECT_THAT(
      ShareableLayout::SizeOf({std::string(9999992, 'x')}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("9999992")));
}

TEST(ShareableLayoutTest, ForgedHeadsAreRefused) {
  constexpr auto kCode = absl::StatusCode::kDataLoss;
  EXPECT_THAT(Bytes("").Parse(), StatusIs(kCode));
  EXPECT_THAT(Bytes("12345678").Parse(), StatusIs(kCode));
  for (const int64_t count : {int64_t{-1}, int64_t{7}, INT64_MAX, INT64_MIN}) {
    const Bytes bytes = BytesOf(Vector());
    bytes.SetWord(0, count);
    EXPECT_THAT(bytes.Parse(), StatusIs(kCode)) << count;
  }
  for (const int64_t offset : {int64_t{-8}, int64_t{0}, int64_t{4},
                               int64_t{10000}, INT64_MAX, INT64_MIN}) {
    for (const size_t word : {2, 7}) {
      const Bytes bytes = BytesOf(Vector());
      bytes.SetWord(word, offset);
      EXPECT_THAT(bytes.Parse(), StatusIs(kCode)) << word << ": " << offset;
    }
  }
}

TEST(ShareableLayoutTest, DamageAfterTheFirstLookIsSeenToo) {
  const Bytes bytes = BytesOf(Vector());
  const absl::StatusOr<ShareableLayout> list = bytes.Parse();
  ASSERT_THAT(list, IsOk());
  bytes.SetWord(0, INT64_MAX);  // not read again
  bytes.SetWord(4, int64_t{1} << 40);
  bytes.SetWord(5, -8);
  for (const int i : {2, 3, 4}) {
    EXPECT_THAT(list->At(i), StatusIs(absl::StatusCode::kDataLoss)) << i;
    EXPECT_THAT(list->Set(i, "x"), StatusIs(absl::StatusCode::kDataLoss));
  }
}

// Whatever is in the block, each call answers with a value, a refusal or
// kDataLoss. A step beyond the memory is for Address Sanitizer to see.
void UseAll(const ShareableLayout& list, std::mt19937& random) {
  const Items values = {int64_t{7}, 0.5, false, std::string(random() % 40, 'v'),
                        ShareableBytes{std::string(random() % 10, '\0')}};
  for (int64_t i = 0; i < list.size(); ++i) {
    const auto item = list.At(i);
    if (!item.ok()) {
      EXPECT_THAT(item, StatusIs(absl::StatusCode::kDataLoss));
    }
    list.Format(i).IgnoreError();
    list.Set(i, values[random() % values.size()]).IgnoreError();
  }
}

TEST(ShareableLayoutTest, RandomDamageIsAStatus) {
  const uint64_t seed = testing::TestSeed();
  SCOPED_TRACE(absl::StrCat("MP_TEST_SEED=", seed));
  std::mt19937 random(seed);
  const std::string whole(BytesOf(Vector()).view());
  for (int round = 0; round < testing::Scaled(20000, 500000); ++round) {
    std::string damaged = whole.substr(
        0, random() % 4 == 0 ? random() % whole.size() : whole.size());
    const int hits = 1 + random() % 8;
    for (int i = 0; i < hits && !damaged.empty(); ++i) {
      damaged[random() % damaged.size()] =
          random() % 3 == 0 ? '\xff' : random() % 256;
    }
    const Bytes bytes(damaged);
    const absl::StatusOr<ShareableLayout> list = bytes.Parse();
    if (list.ok()) {
      UseAll(*list, random);
    } else {
      EXPECT_THAT(list, StatusIs(absl::StatusCode::kDataLoss));
    }
  }
}

}  // namespace
}  // namespace mp::internal
