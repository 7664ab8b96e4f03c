// Pickles of CPython's and ours, both ways round.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/ipc/object.h"
#include "mp/ipc/pickle.h"
#include "mp/process/subprocess.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

// The distribution's.
constexpr char kPython[] = "/usr/bin/python3";

// Before each script.
constexpr char kPrologue[] = R"(
import _queue, collections, datetime, multiprocessing, pickle, queue, sys
import threading
from multiprocessing import connection, managers, pool, resource_sharer
token = managers.Token("list", ("host", 80), "7f00")
def shared(x): return [x, (x, x), {"k": x}]
def has(x, **state):
    x.__dict__.update(state)
    return x
def cyclic():
    x = []
    x.append((1, x))
    return x
def space():
    x = managers.Namespace(a=1)
    return x
)";

// Reads an expression a line; for each writes the pickles of protocols 2 to 5,
// and its repr().
constexpr char kDump[] = R"(
for line in sys.stdin:
    value = eval(line)
    print(*(pickle.dumps(value, n).hex() for n in range(2, 6)), ascii(value)))";

// Reads a pickle a line; for each writes what is in it, and whether its own
// pickle is the same.
constexpr char kLoad[] = R"(
for line in sys.stdin:
    data = bytes.fromhex(line)
    value = pickle.loads(data)
    print(pickle.dumps(value, 4) == data, ascii(value)))";

// What Python evaluates to values of which all kinds are there. Those of which
// repr() is not ours are in the next list.
constexpr const char* kExpressions[] = {
    // Scalars.
    "None",
    "True",
    "False",
    "0",
    "1",
    "255",
    "256",
    "65535",
    "65536",
    "-1",
    "-128",
    "-129",
    "2**31 - 1",
    "2**31",
    "-2**31",
    "-2**31 - 1",
    "2**63 - 1",
    "2**63",
    "-2**63",
    "-2**63 - 1",
    "2**64 - 1",
    "2**64",
    "-2**64",
    "2**2039",
    "-2**2039",
    "2**2040",
    "-2**2040",
    "7**3000",
    "-7**3000",
    "0.0",
    "-0.0",
    "1.5",
    "1e16",
    "1e15",
    "123456789012345680.0",
    "1e-4",
    "1e-5",
    "1.25e-7",
    "1e100",
    "5e-324",
    "1.7976931348623157e308",
    "float('inf')",
    "float('-inf')",
    "float('nan')",
    "0.1",
    "1/3",
    // Text.
    "''",
    "'hi'",
    "'it\\'s'",
    "'\"it\\'s\"'",
    "'a\\\\b\\n\\r\\t\\0\\x7f'",
    "'x' * 255",
    "'x' * 256",
    "'h\\xe9llo \\u20ac \\U0001f600'",
    "'\\ud800'",
    "'a\\udcff\\udc80'",
    "'\\u2028\\xad\\ufeff\\U000e0001'",
    "b''",
    "b'hi'",
    "bytes(range(256))",
    "b'x' * 256",
    "b'\\'\"'",
    "bytearray()",
    "bytearray(b'hi')",
    "bytearray(range(256)) * 3",
    // Containers.
    "[]",
    "[1]",
    "[1, 2]",
    "[[]]",
    "[[[1], 2], 3]",
    "()",
    "(1,)",
    "(1, 2)",
    "(1, 2, 3)",
    "(1, 2, 3, 4)",
    "((), ((),), ((), ()))",
    "{}",
    "{'a': 1}",
    "{'a': 1, 'b': 2}",
    "{1: {2: {3: {}}}}",
    "{(1, 'x'): [2], None: True}",
    "set()",
    "{1}",
    "{1, 2, 3}",
    "frozenset()",
    "frozenset({1})",
    "frozenset({1, 2, 3})",
    "{frozenset({(1, frozenset())})}",
    "{frozenset(): 1}",
    "{1.5: 'a', b'x': 'b', 2**70: 'c'}",
    "[42, None, 'hello']",
    ("[None, True, 7, 2**80, 1.5, 's', b'b', bytearray(b'ba'), [1], (2,), "
     "{'k': {3}}, frozenset({4})]"),
    // What is in several places.
    "shared('text')",
    "shared(b'bytes')",
    "shared([1])",
    "shared((1, 2))",
    "shared({1: 2})",
    "shared({1})",
    "shared(frozenset({1}))",
    "shared(bytearray(b'x'))",
    "shared(2**80)",
    "shared(())",
    "shared(shared(shared([])))",
    "[str(i % 300) for i in range(700)]",
    "[x for x in [[i] for i in range(300)] for _ in range(2)]",
    // Batches, and frames of 64 KiB.
    "list(range(999))",
    "list(range(1000))",
    "list(range(1001))",
    "list(range(2000))",
    "list(range(70000))",
    "{i: i for i in range(999)}",
    "{i: i for i in range(1000)}",
    "{i: i for i in range(1001)}",
    "{i: str(i) for i in range(20000)}",
    "set(range(999))",
    "set(range(1000))",
    "set(range(1001))",
    "frozenset(range(2001))",
    "tuple(range(5000))",
    "'x' * 65535",
    "'x' * 65536",
    "['x' * 65530, 1]",
    "[1, 'x' * 70000, 2]",
    "b'x' * 70000",
    "[b'x' * 65535, b'y' * 65536, 'z' * 65537]",
    "bytearray(b'x') * 70000",
    "['x' * 9000 for _ in range(40)]",
    "[['%d' % i * 50, {i: (i, i)}] for i in range(3000)]",
    "7**30000 > 0",
    // Exceptions.
    "ValueError()",
    "ValueError('x')",
    "KeyError('k', 2)",
    "OSError('no')",
    "[ValueError('a'), ValueError('b'), TypeError('c'), bytearray(b'd')]",
    "ZeroDivisionError('division by zero')",
    "KeyboardInterrupt()",
    "StopIteration(7)",
    "UnicodeDecodeError('utf-8', b'\\xff', 0, 1, 'bad')",
    "RuntimeWarning(1)",
    "[ValueError, ValueError, set, bytearray]",
    "slice(1, 2, None)",
};

constexpr const char* kOtherExpressions[] = {
    "FileNotFoundError(2, 'no')",
    "queue.Empty()",
    "queue.Full('x')",
    "_queue.Empty()",
    "threading.BrokenBarrierError('x')",
    "multiprocessing.TimeoutError('x')",
    "multiprocessing.BufferTooShort(b'abc')",
    "multiprocessing.AuthenticationError('digest')",
    "managers.RemoteError('text')",
    "token",
    "shared(token)",
    "space()",
    "[token, managers.Token('dict', 'path', '1')]",
    "1.5+2j",
    "range(3)",
    "pool.MaybeEncodingError('a', 'b')",
    "has(ValueError('x'), a=[1])",
    "has(ValueError('x'), a=has(KeyError(), b={}))",
    "('#RETURN', None)",
    "('#ERROR', ValueError('x'))",
    "('#PROXY', (('append', 'pop'), token))",
    "(None, 'create', ('list', [1, 2]), {})",
    "('7fb7db7a1e90', '__getitem__', (slice(0, 2, None),), {})",
    "(managers.RebuildProxy, managers.AutoProxy, managers.ListProxy)",
    "pool.ExceptionWithTraceback(ValueError('x'), None)",
};

absl::StatusOr<CompletedSubprocess> RunPython(const std::string& script,
                                              std::string input = "") {
  return Subprocess::Run({kPython, "-c", kPrologue + script},
                         {.input = std::move(input),
                          .capture_output = true,
                          .timeout = absl::Minutes(2)});
}

class PicklePythonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto probe = RunPython("");
    if (absl::IsNotFound(probe.status())) {
      GTEST_SKIP() << "there is no " << kPython;
    }
    ASSERT_THAT(probe, IsOk());
    if (!probe->Check().ok()) {
      GTEST_SKIP() << kPython << " is too old: " << probe->err;
    }
  }

  // Runs a script, which must succeed, and returns the lines that it printed.
  std::vector<std::string> Python(const std::string& script,
                                  std::string input) {
    const auto result = RunPython(script, std::move(input));
    EXPECT_THAT(result, IsOk());
    if (!result.ok()) return {};
    EXPECT_THAT(result->Check(), IsOk());
    return absl::StrSplit(absl::StripSuffix(result->out, "\n"), '\n');
  }

  struct Dumped {
    std::vector<std::string> pickles;  // Of protocols 2 to 5.
    std::string repr;
  };

  std::vector<Dumped> Dump(const std::vector<std::string>& expressions) {
    std::string input;
    for (const std::string& text : expressions)
      absl::StrAppend(&input, text, "\n");
    std::vector<Dumped> dumped;
    for (const std::string& line : Python(kDump, input)) {
      std::vector<std::string> parts =
          absl::StrSplit(line, absl::MaxSplits(' ', 4));
      if (parts.size() != 5) {
        ADD_FAILURE() << line;
        return {};
      }
      dumped.push_back({{}, parts[4]});
      for (int i = 0; i < 4; ++i) {
        dumped.back().pickles.push_back(absl::HexStringToBytes(parts[i]));
      }
    }
    EXPECT_EQ(dumped.size(), expressions.size());
    return dumped;
  }
};

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return absl::ascii_isascii(c); });
}

// Letters beyond ASCII as ascii() shows them, as far as we use any.
std::string Ascii(const Object& object) {
  const std::string repr = object.Repr(size_t{1} << 30);
  if (IsAscii(repr)) return repr;
  std::string ascii;
  for (size_t i = 0; i < repr.size(); ++i) {
    const absl::string_view rest = absl::string_view(repr).substr(i);
    if (absl::StartsWith(rest, "é")) {
      ascii += "\\xe9";
      i += 1;
    } else if (absl::StartsWith(rest, "€")) {
      ascii += "\\u20ac";
      i += 2;
    } else if (absl::StartsWith(rest, "😀")) {
      ascii += "\\U0001f600";
      i += 3;
    } else {
      ascii += rest[0];
    }
  }
  return ascii;
}

// The pickles of all protocols, loaded.
std::vector<Object> LoadAll(const std::vector<std::string>& pickles) {
  std::vector<Object> objects;
  for (const std::string& pickle : pickles) {
    const absl::StatusOr<Object> object = LoadPickle(pickle);
    EXPECT_THAT(object, IsOk());
    objects.push_back(object.value_or(nullptr));
  }
  return objects;
}

// Also a NaN.
bool IsSame(const Object& a, const Object& b) {
  return a == b || a.Repr() == b.Repr();
}

TEST_F(PicklePythonTest, WeReadAndWriteWhatPythonWrites) {
  const std::vector<std::string> expressions(std::begin(kExpressions),
                                             std::end(kExpressions));
  const std::vector<Dumped> dumped = Dump(expressions);
  ASSERT_EQ(dumped.size(), expressions.size());
  for (size_t i = 0; i < dumped.size(); ++i) {
    SCOPED_TRACE(expressions[i]);
    const std::vector<Object> objects = LoadAll(dumped[i].pickles);
    for (const Object& object : objects) {
      EXPECT_TRUE(IsSame(object, objects[0])) << object;
    }
    if (!absl::StrContains(dumped[i].repr, "<class")) {
      EXPECT_EQ(Ascii(objects[0]), dumped[i].repr);
    }
    EXPECT_THAT(DumpPickle(objects[2]), IsOkAndHolds(dumped[i].pickles[2]));
  }
}

TEST_F(PicklePythonTest, RecordsAreThoseOfPython) {
  const std::vector<std::string> expressions(std::begin(kOtherExpressions),
                                             std::end(kOtherExpressions));
  const std::vector<Dumped> dumped = Dump(expressions);
  ASSERT_EQ(dumped.size(), expressions.size());
  for (size_t i = 0; i < dumped.size(); ++i) {
    SCOPED_TRACE(expressions[i]);
    const std::vector<Object> objects = LoadAll(dumped[i].pickles);
    // Protocol 2 knows less.
    EXPECT_EQ(objects[1], objects[2]);
    EXPECT_EQ(objects[3], objects[2]);
    EXPECT_THAT(DumpPickle(objects[2]), IsOkAndHolds(dumped[i].pickles[2]));
  }
}

TEST_F(PicklePythonTest, PythonReadsWhatWeWrite) {
  const std::vector<Object> objects = {
      nullptr,
      true,
      42,
      -3'000'000'000,
      std::numeric_limits<uint64_t>::max(),
      1.5,
      "héllo €",
      Object::Bytes("\xff"),
      Object::ByteArray("ba"),
      Object::List({42, nullptr, "hello"}),
      Object::Tuple({Object::Tuple({}), Object::Tuple({1, 2, 3, 4})}),
      Object::Dict({{"a", Object::Dict()}, {2, Object::List({3})}}),
      Object::Set({1}),
      Object::FrozenSet({"x"}),
      Object::Exception("ValueError", {"x"}),
      Object(std::string(70'000, 'x')),
      Object::List(Object::Items(100'000, 7)),
  };
  std::string input;
  for (const Object& object : objects) {
    const absl::StatusOr<std::string> pickle = DumpPickle(object);
    ASSERT_THAT(pickle, IsOk());
    absl::StrAppend(&input, absl::BytesToHexString(*pickle), "\n");
  }
  const std::vector<std::string> lines = Python(kLoad, input);
  ASSERT_EQ(lines.size(), objects.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i], absl::StrCat("True ", Ascii(objects[i])));
  }
}

TEST_F(PicklePythonTest, PythonHasOnceWhatWeHaveOnce) {
  const Object list = Object::List({1});
  const absl::StatusOr<std::string> pickle =
      DumpPickle(Object::List({list, list, Object::List({1})}));
  ASSERT_THAT(pickle, IsOk());
  EXPECT_EQ(Python(R"(
a = pickle.loads(bytes.fromhex(sys.stdin.read()))
print(a, a[0] is a[1], a[0] is a[2]))",
                   absl::BytesToHexString(*pickle)),
            std::vector<std::string>{"[[1], [1], [1]] True False"});
}

TEST_F(PicklePythonTest, RecordsBecomeWhatTheyStandFor) {
  const Object token = Object::FromRecord(
      {.module = "multiprocessing.managers",
       .name = "Token",
       .args = Object::Tuple({}),
       .state = Object::Tuple({"list", Object::Tuple({"host", 80}), "7f00"})});
  const Object error =
      Object::FromRecord({.module = "builtins",
                          .name = "OSError",
                          .args = Object::Tuple({2, "no"}),
                          .state = Object::Dict({{"note", "x"}})});
  const absl::StatusOr<std::string> pickle = DumpPickle(Object::List(
      {token, error,
       Object::FromRecord({.module = "_queue", .name = "Empty"})}));
  ASSERT_THAT(pickle, IsOk());
  EXPECT_EQ(Python(R"(
a = pickle.loads(bytes.fromhex(sys.stdin.read()))
print(a[0], type(a[1]).__name__, a[1].errno, a[1].note)
print(isinstance(a[2], queue.Empty)))",
                   absl::BytesToHexString(*pickle)),
            (std::vector<std::string>{
                "Token(typeid='list', address=('host', 80), id='7f00') "
                "FileNotFoundError 2 x",
                "True"}));
}

TEST_F(PicklePythonTest, ObjectsOfAnyOtherClassAreRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"collections.OrderedDict(a=1)", "collections.OrderedDict"},
      {"datetime.date(2000, 1, 1)", "datetime.date"},
      {"print", "builtins.print"},
      {"token.__reduce__", "builtins.getattr"},
      {"sys.exit", "sys.exit"},
      {"eval", "builtins.eval"},
  };
  std::vector<std::string> expressions;
  for (const auto& [expression, name] : refused)
    expressions.push_back(expression);
  const std::vector<Dumped> dumped = Dump(expressions);
  ASSERT_EQ(dumped.size(), refused.size());
  for (size_t i = 0; i < dumped.size(); ++i) {
    for (const std::string& pickle : dumped[i].pickles) {
      EXPECT_THAT(LoadPickle(pickle),
                  StatusIs(absl::StatusCode::kDataLoss,
                           HasSubstr(refused[i].second + " is none")));
    }
  }
}

TEST_F(PicklePythonTest, WhatContainsItselfIsRefused) {
  for (const Dumped& dumped : Dump({"cyclic()"})) {
    for (const std::string& pickle : dumped.pickles) {
      EXPECT_THAT(LoadPickle(pickle), StatusIs(absl::StatusCode::kDataLoss,
                                               HasSubstr("contains itself")));
    }
  }
}

TEST_F(PicklePythonTest, BufferOutOfBandIsRefused) {
  const std::vector<std::string> lines = Python(R"(
print(pickle.dumps([pickle.PickleBuffer(bytearray(b"x"))], 5).hex())
print(pickle.dumps([pickle.PickleBuffer(b"x")], 5,
                   buffer_callback=[].append).hex()))",
                                                "");
  ASSERT_EQ(lines.size(), 2);
  EXPECT_THAT(LoadPickle(absl::HexStringToBytes(lines[0])),
              IsOkAndHolds(Object::List({Object::ByteArray("x")})));
  EXPECT_THAT(LoadPickle(absl::HexStringToBytes(lines[1])),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("out of band")));
}

}  // namespace
}  // namespace mp
