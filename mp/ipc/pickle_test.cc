#include "mp/ipc/pickle.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/ipc/object.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A pickle of protocol 4 of these opcodes.
std::string Pickle(absl::string_view opcodes) {
  return absl::StrCat("\x80\x04", opcodes, ".");
}

absl::StatusOr<Object> Load(absl::string_view opcodes,
                            const PickleLimits& limits = {}) {
  return LoadPickle(Pickle(opcodes), limits);
}

// An opcode and a text of less than 256 bytes.
std::string Text(absl::string_view op, absl::string_view text) {
  return absl::StrCat(op, std::string(1, static_cast<char>(text.size())), text);
}

std::string Str(absl::string_view text) { return Text("\x8c", text); }

std::string Global(absl::string_view module, absl::string_view name) {
  return absl::StrCat(Str(module), Str(name), "\x93");
}

auto IsDataLoss(absl::string_view what) {
  return StatusIs(absl::StatusCode::kDataLoss, HasSubstr(std::string(what)));
}

auto IsOver(absl::string_view limit) {
  return StatusIs(absl::StatusCode::kResourceExhausted,
                  HasSubstr(absl::StrCat("PickleLimits::", limit)));
}

// From CPython.
TEST(PickleTest, KnownPicklesAreWrittenAndRead) {
  const Object request = Object::Tuple(
      {"7fb7db7a1e90", "put", Object::Tuple({"hello"}), Object::Dict()});
  const std::vector<std::pair<Object, std::string>> known = {
      {nullptr, "80044e2e"},
      {0, "80044b002e"},
      {"hi", "80049506000000000000008c026869942e"},
      {Object::Tuple({nullptr, "dummy", Object::Tuple({}), Object::Dict()}),
       "8004951000000000000000284e8c0564756d6d7994297d9474942e"},
      {Object::Tuple({"#RETURN", nullptr}),
       "8004950e000000000000008c072352455455524e944e86942e"},
      {request,
       "8004952500000000000000288c0c3766623764623761316539"
       "30948c03707574948c0568656c6c6f9485947d9474942e"},
  };
  for (const auto& [object, hex] : known) {
    const std::string pickle = absl::HexStringToBytes(hex);
    EXPECT_THAT(DumpPickle(object), IsOkAndHolds(pickle)) << object;
    EXPECT_THAT(LoadPickle(pickle), IsOkAndHolds(object)) << object;
  }
}

TEST(PickleTest, WhatIsSharedStaysShared) {
  const Object text = "some text";
  const Object list = Object::List({text});
  const absl::StatusOr<std::string> pickle =
      DumpPickle(Object::Tuple({list, text, list}));
  ASSERT_THAT(pickle, IsOk());
  const absl::StatusOr<Object> object = LoadPickle(*pickle);
  ASSERT_THAT(object, IsOk());
  const Object::Items& items = *object->tuple();
  EXPECT_EQ(items[0].list(), items[2].list());
  EXPECT_EQ(items[0].list()->at(0).str(), items[1].str());
  EXPECT_THAT(DumpPickle(*object), IsOkAndHolds(*pickle));
}

TEST(PickleTest, EveryTruncationIsRefused) {
  const absl::StatusOr<std::string> pickle = DumpPickle(Object::List(
      {1, 70'000, "text", 2.5, Object::Bytes("bytes"), Object::ByteArray("x"),
       Object::Dict({{"k", Object::Set({1, 2})}}),
       Object::Exception("ValueError", {"x"}),
       Object::IntFromBytes("0123456789"), std::string(70'000, 'x')}));
  ASSERT_THAT(pickle, IsOk());
  ASSERT_THAT(LoadPickle(*pickle), IsOk());
  for (size_t size = 0; size < pickle->size(); ++size) {
    if (size == 1000) size += 69'000;
    EXPECT_THAT(LoadPickle(pickle->substr(0, size)), IsDataLoss("at byte "))
        << size;
  }
}

TEST(PickleTest, EveryByteMayBeWrong) {
  const absl::StatusOr<std::string> pickle = DumpPickle(
      Object::List({1, "text", Object::Dict({{"k", Object::Set({1})}}),
                    Object::Exception("ValueError", {"x"})}));
  ASSERT_THAT(pickle, IsOk());
  for (size_t i = 0; i < pickle->size(); ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string wrong = *pickle;
      wrong[i] = static_cast<char>(byte);
      const absl::StatusOr<Object> object = LoadPickle(wrong);
      if (object.ok()) {
        EXPECT_THAT(DumpPickle(*object), IsOk());
      } else {
        EXPECT_THAT(object, IsDataLoss("LoadPickle: at byte "));
      }
    }
  }
}

TEST(PickleTest, BytesAroundItAreRefused) {
  EXPECT_THAT(LoadPickle(""), IsDataLoss("at byte 0: there are no bytes"));
  EXPECT_THAT(LoadPickle(Pickle("N") + "xyz"),
              IsDataLoss("at byte 3: the end, and 3 bytes after it"));
  EXPECT_THAT(LoadPickle("I42\n."), IsDataLoss("not the beginning"));
  EXPECT_THAT(LoadPickle("\x80\x06N."), IsDataLoss("protocol 6"));
  EXPECT_THAT(LoadPickle("\x80\x01N."), IsDataLoss("protocol 1"));
  EXPECT_THAT(LoadPickle("\x80\x02N."), IsOkAndHolds(Object()));
}

TEST(PickleTest, OpcodesOfOthersAreRefused) {
  EXPECT_THAT(Load("I42\n"), IsDataLoss("at byte 2: the opcode 0x49"));
  EXPECT_THAT(Load("Pid\n"), IsDataLoss("opcode 0x50"));
  EXPECT_THAT(Load("\x82\x01"), IsDataLoss("opcode 0x82"));
  EXPECT_THAT(Load("N2"), IsDataLoss("opcode 0x32"));
  EXPECT_THAT(Load("N\x97"), IsDataLoss("out of band"));
  EXPECT_THAT(Load("N\x98"), IsDataLoss("out of band"));
  EXPECT_THAT(Load("N\x92"), IsDataLoss("NEWOBJ_EX"));
  EXPECT_THAT(Load("N\x80\x04"), IsDataLoss("second beginning"));
}

TEST(PickleTest, LengthsBeyondTheEndAreRefused) {
  EXPECT_THAT(Load(Str("abc").substr(0, 3)),
              IsDataLoss("at byte 2: cut short: 3 bytes are to follow, 2 do"));
  EXPECT_THAT(Load("X\xff\xff\xff\x7f"), IsDataLoss("2147483647 bytes"));
  EXPECT_THAT(Load("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"),
              IsDataLoss("18446744073709551615 bytes"));
  EXPECT_THAT(Load("\x96\xff\xff\xff\xff\xff\xff\xff\x7f"),
              IsDataLoss("cut short"));
  EXPECT_THAT(Load("\x8b\xff\xff\xff\xff"), IsDataLoss("cut short"));
  EXPECT_THAT(Load("cbuiltins"), IsDataLoss("a line has no end"));
}

TEST(PickleTest, FramesAreKept) {
  const auto frame = [](absl::string_view opcodes, char size) {
    return absl::StrCat("\x95", std::string(1, size), std::string(7, '\0'),
                        opcodes);
  };
  EXPECT_THAT(Load(frame("N", 2)), IsOkAndHolds(Object()));
  EXPECT_THAT(Load(frame("N", 1)), IsOkAndHolds(Object()));
  EXPECT_THAT(Load(frame("N", 9)), IsDataLoss("a frame of 9 bytes"));
  EXPECT_THAT(Load(frame(Str("abc"), 3)), IsDataLoss("beyond its frame"));
  EXPECT_THAT(Load(frame(frame("N", 1), 10)), IsDataLoss("within another"));
}

TEST(PickleTest, StackIsNotUnderrun) {
  for (const std::string opcodes :
       {"",     "0",    "1",      "a",      "e",    "s",    "u",    "t",
        "R",    "b",    "\x81",   "\x85",   "\x86", "\x87", "\x90", "\x91",
        "\x93", "\x94", "q\x01",  "Na",     "Ns",   "NNs",  "]a",   "]NNa1",
        "(",    "(N",   "}Ns",    "(a",     "](a",  "(u",   "(Ne",  "NN",
        "}(Nu", "N(e",  "N(u",    "N(\x90", "NNa",  "NNNs", "NR",   "NNR",
        "NNb",  "]Nb",  "N(\x85", "(0",     "(N1"}) {
    EXPECT_THAT(Load(opcodes), IsDataLoss("LoadPickle: at byte "))
        << absl::CHexEscape(opcodes);
  }
  EXPECT_THAT(Load("NN0"), IsOkAndHolds(Object()));
  EXPECT_THAT(Load("N(NN1"), IsOkAndHolds(Object()));
  EXPECT_THAT(Load("N(0"), IsOkAndHolds(Object()));
}

TEST(PickleTest, MemoHoldsWhatWasPut) {
  EXPECT_THAT(Load("]\x94h\x01"), IsDataLoss("value 1 of the memo"));
  EXPECT_THAT(
      Load(std::string("]\x94h\0\x86", 5)),
      IsOkAndHolds(Object::Tuple({Object::List({}), Object::List({})})));
  EXPECT_THAT(Load(std::string("Kar\xff\xff\xff\xffj\xff\xff\xff\xff\x86", 13)),
              IsOkAndHolds(Object::Tuple({97, 97})));
}

TEST(PickleTest, WhatContainsItselfIsRefused) {
  const auto load = [](std::string opcodes) {
    for (char& c : opcodes) c = c == '#' ? '\0' : c;
    return Load(opcodes);
  };
  EXPECT_THAT(load("]\x94h#a"), IsDataLoss("contains itself"));
  EXPECT_THAT(load("]\x94(h#h#e"), IsDataLoss("contains itself"));
  EXPECT_THAT(load("]\x94(h#t\x94"
                   "a"),
              IsDataLoss("contains itself"));
  EXPECT_THAT(load("}\x94NNsK\x01h#s"), IsDataLoss("contains itself"));
  EXPECT_THAT(load("}\x94Nh#s"), IsDataLoss("contains itself"));
  EXPECT_THAT(load(Global("builtins", "KeyError") + ")R\x94h\x02"
                                                    "b"),
              IsDataLoss("value 2 of the memo"));
  EXPECT_THAT(load(Global("builtins", "KeyError") + ")R\x94h#b"),
              IsDataLoss("contains itself"));
}

TEST(PickleTest, NothingElseIsCalled) {
  EXPECT_THAT(Load(Global("os", "system") + Str("true") + "\x85R"),
              IsDataLoss("at byte 14: os.system is none of the classes"));
  EXPECT_THAT(Load("cos\nsystem\n)R"), IsDataLoss("os.system"));
  EXPECT_THAT(Load(Global("builtins", "eval")), IsDataLoss("builtins.eval"));
  EXPECT_THAT(Load(Global("builtins", "ValueError.__init__")),
              IsDataLoss("none of the classes"));
  EXPECT_THAT(Load(Global("a\n\xc3\xa9", "b")), IsDataLoss("a\\n\\xc3\\xa9.b"));
  EXPECT_THAT(Load("NN\x93"), IsDataLoss("name is no str"));
  EXPECT_THAT(Load("K\x01)R"), IsDataLoss("a call of 1"));
  EXPECT_THAT(Load(Global("builtins", "KeyError") + "NR"),
              IsDataLoss("no tuple of arguments"));
  EXPECT_THAT(Load(Global("builtins", "KeyError") + ")R)R"),
              IsDataLoss("a call of KeyError(), which is no class"));
  EXPECT_THAT(Load(Global("builtins", "KeyError") + ")RNb}b}b"),
              IsDataLoss("twice"));
}

// Python 2's names mean the same only where Python 2's protocol is spoken.
TEST(PickleTest, NamesOfPython2AreKnownInItsProtocol) {
  const std::string opcodes = "cexceptions\nStandardError\n)R.";
  EXPECT_THAT(LoadPickle("\x80\x02" + opcodes),
              IsOkAndHolds(Object::Exception("Exception")));
  EXPECT_THAT(LoadPickle("\x80\x03" + opcodes),
              IsDataLoss("exceptions.StandardError"));
  EXPECT_THAT(LoadPickle("\x80\x02U\x02hi."), IsOkAndHolds(Object("hi")));
  EXPECT_THAT(LoadPickle("\x80\x02U\x01\xe9."), IsDataLoss("not ASCII"));
}

TEST(PickleTest, CallsThatAreValuesTakeWhatPicklersGive) {
  EXPECT_THAT(
      Load("c_codecs\nencode\n" + Str("\xc3\xbf") + Str("latin1") + "\x86R"),
      IsOkAndHolds(Object::Bytes("\xff")));
  EXPECT_THAT(Load("c_codecs\nencode\n" + Str("€") + Str("latin1") + "\x86R"),
              IsDataLoss("not Latin-1"));
  EXPECT_THAT(Load("c_codecs\nencode\n" + Str("x") + Str("utf8") + "\x86R"),
              IsDataLoss("_codecs.encode with arguments ('x', 'utf8')"));
  EXPECT_THAT(Load(Global("builtins", "bytes") + "K\x7f\x85R"),
              IsDataLoss("builtins.bytes with arguments"));
  EXPECT_THAT(Load(Global("builtins", "set") + "](K\x01K\x01K\x02"
                                               "e\x85R"),
              IsOkAndHolds(Object::Set({1, 2})));
  EXPECT_THAT(Load(Global("builtins", "set") + "]]a\x85R"),
              IsDataLoss("not hashable"));
}

TEST(PickleTest, KeysMustBeHashable) {
  EXPECT_THAT(Load("}]Ns"), IsDataLoss("a list of depth 1 as a key"));
  EXPECT_THAT(Load("\x8f(]\x90"), IsDataLoss("not hashable"));
  EXPECT_THAT(Load("(]\x91"), IsDataLoss("not hashable"));
  EXPECT_THAT(Load("}" + std::string(10, ')') + "t"), IsDataLoss("at byte"));
  EXPECT_THAT(Load("})" + std::string(300, '\x85') + "Ns"),
              IsDataLoss("a tuple of depth 301 as a key"));
}

TEST(PickleTest, StrMustBeUtf8OrSurrogates) {
  EXPECT_THAT(Load(Str("a\xff")), IsDataLoss("not UTF-8 at its byte 1"));
  EXPECT_THAT(Load(Str("\xc0\x80")), IsDataLoss("not UTF-8"));
  EXPECT_THAT(Load(Str("\xe2\x82")), IsDataLoss("not UTF-8"));
  EXPECT_THAT(Load(Str("\xf4\x90\x80\x80")), IsDataLoss("not UTF-8"));
  EXPECT_THAT(Load(Str("\xed\xa0\x80")), IsOkAndHolds(Object("\xed\xa0\x80")));
}

TEST(PickleTest, LimitsAreKept) {
  const std::string deep = std::string(101, ']') + std::string(100, 'a');
  EXPECT_THAT(Load(deep, {.max_depth = 101}), IsOk());
  EXPECT_THAT(Load(deep, {.max_depth = 100}), IsOver("max_depth is 100"));
  EXPECT_THAT(Load("N" + std::string(100, '\x85'), {.max_depth = 100}),
              IsOver("max_depth"));
  EXPECT_THAT(Load("(NNNt", {.max_objects = 5}), IsOk());
  EXPECT_THAT(Load("(NNNt", {.max_objects = 4}), IsOver("max_objects is 4"));
  EXPECT_THAT(Load(std::string(100, '('), {.max_objects = 50}),
              IsOver("max_objects"));
  EXPECT_THAT(Load("N0N0N0N0N", {.max_objects = 4}), IsOver("max_objects"));
  EXPECT_THAT(Load(Str("abcd"), {.max_text_bytes = 3}),
              IsOver("max_text_bytes is 3"));
  EXPECT_THAT(Load("N", {.max_bytes = 3}), IsOver("max_bytes is 3"));
}

TEST(PickleTest, WhatIsInManyPlacesCountsEachTime) {
  // A billion laughs: 10 times 10 times 10 ...
  std::string opcodes = Str("lol") + "\x94";
  for (int level = 0; level < 30; ++level) {
    opcodes += "](";
    for (int i = 0; i < 10; ++i) {
      opcodes += {'h', static_cast<char>(level)};
    }
    opcodes += "e\x94";
  }
  EXPECT_THAT(Load(opcodes), IsOver("max_objects"));
  // Much of one text.
  std::string text("B\0\0\x10\0", 5);
  text += std::string(0x100000, 'x') + "\x94](";
  for (int i = 0; i < 2000; ++i) text += std::string("h\0", 2);
  EXPECT_THAT(Load(text + "e\x86"), IsOver("max_text_bytes"));
}

TEST(PickleTest, LimitsAreToldToTheWriter) {
  Object deep;
  for (int i = 0; i < 20'000; ++i) deep = Object::List({deep});
  EXPECT_THAT(DumpPickle(deep), IsOver("max_depth is 10000"));
  const absl::StatusOr<std::string> pickle =
      DumpPickle(deep, {.max_depth = 100'000});
  ASSERT_THAT(pickle, IsOk());
  EXPECT_THAT(LoadPickle(*pickle, {.max_depth = 100'000}), IsOkAndHolds(deep));
  Object laughs = "lol";
  for (int i = 0; i < 40; ++i) laughs = Object::List({laughs, laughs});
  EXPECT_THAT(DumpPickle(laughs), IsOver("max_objects"));
  EXPECT_THAT(DumpPickle("text", {.max_text_bytes = 3}),
              IsOver("max_text_bytes"));
  EXPECT_THAT(DumpPickle("text", {.max_bytes = 9}), IsOver("max_bytes"));
}

TEST(PickleTest, WhatCannotBeWrittenIsNamed) {
  EXPECT_THAT(DumpPickle(Object::List({"a\xff"})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("'a\\xff' is not UTF-8 at its byte 1"),
                             HasSubstr("Object::Bytes"))));
  EXPECT_THAT(
      DumpPickle(Object::FromRecord({.module = "os", .name = "system"})),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("a record of os.system")));
  EXPECT_THAT(DumpPickle(Object::FromRecord(
                  {.module = "builtins", .name = "OSError", .args = 2})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("whose args are a int")));
}

}  // namespace
}  // namespace mp
