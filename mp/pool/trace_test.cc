#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/subprocess.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

namespace fs = std::filesystem;
using ::mp::internal::Numbers;
using ::mp::internal::PoolTestFixture;
using ::mp::internal::RealStartMethods;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kNap = absl::Milliseconds(50);

void Initialize() { absl::SleepFor(kNap); }

absl::Status NapAt7DieAt13(int x) {
  if (x == 7) absl::SleepFor(kNap);
  if (x == 13) raise(SIGKILL);
  return x == 3 ? absl::NotFoundError("3 \"is\" not \\ here")
                : absl::OkStatus();
}
void DieAtOnce() { raise(SIGKILL); }
void Sleep(int) { absl::SleepFor(absl::Hours(1)); }

// Prints lines of what a trace says, and fails if it does not say it well.
constexpr char kReader[] = R"(
import json, sys
trace = json.load(open(sys.argv[1], encoding='utf-8'))
events = trace['traceEvents']
rows = {e['tid']: e['args']['name'] for e in events if e['name'] == 'thread_name'}
for e in events:
    assert e['ph'] in 'XiM' and isinstance(e['pid'], int), e
    if e['ph'] == 'M': continue
    assert e['tid'] in rows and e['ts'] >= 0, e
    if e['ph'] == 'X': assert e['dur'] >= 0, e
    else: assert e['s'] == 't', e
assert all(('pid ' in name) for name in rows.values()), rows
print('rows', len(rows))
# On a row one thing ends before the next begins; but for a rounding.
for row in rows:
    spans = sorted((e['ts'], e['ts'] + e['dur']) for e in events
                   if e['ph'] == 'X' and e['tid'] == row)
    for a, b in zip(spans, spans[1:]): assert a[1] <= b[0] + 0.01, (a, b)
items = [e for e in events if e.get('cat') == 'item']
print('items', len(items), sorted(e['args']['index'] for e in items) == list(range(20)))
print('names', all('NapAt7DieAt13' in e['name'] for e in items))
print('outcomes', [(e['args']['index'], e['args']['outcome']) for e in
                   sorted(items, key=lambda e: e['args']['index'])
                   if e['args']['outcome'] != 'OK'])
[row] = [e['tid'] for e in items if e['args']['index'] == 7]
print('nap', sum(e['dur'] for e in items if e['tid'] == row) >= 50e3)
print('starts', sum(e['name'] == 'start' for e in events))
print('initializers', sum(e['name'] == 'initializer' and e['dur'] >= 50e3 for e in events))
ends = [e for e in events if e['name'] == 'end']
print('ends', len(ends), 'killed', sum('SIGKILL' in e['args']['how'] for e in ends))
)";

class TraceTest : public PoolTestFixture {
 protected:
  TraceTest() : PoolTestFixture(/*processes=*/2) {}

  void SetUp() override {
    folder_ =
        fs::path(::testing::TempDir()) / absl::StrCat("trace_test.", getpid());
    fs::create_directory(folder_);
    PoolTestFixture::SetUp();
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string File() const { return folder_ / "pool.json"; }

  // How many files there are, temporary ones too.
  auto Files() const {
    return std::distance(fs::directory_iterator(folder_),
                         fs::directory_iterator());
  }

  std::string Read() const {
    std::ifstream file(File());
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  fs::path folder_;

 private:
};

MP_INSTANTIATE_TEST_SUITE(TraceTest, RealStartMethods);

TEST_P(TraceTest, ShowsStartsItemsAndDeaths) {
  if (!Subprocess::CheckOutput({"python3", "-c", "import json"}).ok()) {
    GTEST_SKIP() << "there is no python3 to read the trace with";
  }
  auto pool = MakePool(
      {.initializer = PoolInitializer(Initialize), .trace_file = File()});
  ASSERT_THAT(pool, IsOk());
  EXPECT_THAT(pool->Map(NapAt7DieAt13, Numbers(20), {.chunk_size = 3}),
              StatusIs(absl::StatusCode::kNotFound));
  // By now the third one is ready, too.
  ASSERT_THAT(pool->Resize(1), IsOk());
  EXPECT_EQ(Files(), 0);
  pool->Close();
  ASSERT_THAT(pool->Join(), IsOk());
  EXPECT_EQ(Files(), 1);
  EXPECT_THAT(Subprocess::CheckOutput({"python3", "-c", kReader, File()}),
              IsOkAndHolds("rows 3\nitems 20 True\nnames True\n"
                           "outcomes [(3, 'NOT_FOUND'), (13, 'UNAVAILABLE')]\n"
                           "nap True\nstarts 3\ninitializers 3\n"
                           "ends 3 killed 1\n"))
      << Read();
}

TEST_P(TraceTest, IsWholeThoughThePoolBreaks) {
  auto pool = Pool::Create({.processes = 2,
                            .context = GetParam(),
                            .initializer = PoolInitializer(DieAtOnce),
                            .trace_file = File()});
  EXPECT_THAT(pool, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(Read(), AllOf(StartsWith("{"), HasSubstr("SIGKILL"),
                            EndsWith("\"dropped_workers\":0}}\n")));
}

TEST_P(TraceTest, IsWholeAfterTerminate) {
  {
    auto pool = MakePool({.trace_file = File()});
    ASSERT_THAT(pool, IsOk());
    const auto never = pool->MapAsync(Sleep, Numbers(4));
  }
  EXPECT_THAT(Read(), AllOf(HasSubstr("\"end\""), EndsWith("}}\n")));
}

TEST_P(TraceTest, ReplacesAFileAtOnce) {
  std::ofstream(File()) << "old";
  auto pool = MakePool({.trace_file = File()});
  ASSERT_THAT(pool, IsOk());
  EXPECT_EQ(Read(), "old");
  pool->Close();
  ASSERT_THAT(pool->Join(), IsOk());
  EXPECT_THAT(Read(), StartsWith("{"));
  EXPECT_EQ(Files(), 1);
}

TEST_P(TraceTest, SaysWhatIsWrongWithItsFile) {
  EXPECT_THAT(MakePool({.trace_file = "/no/such/folder/pool.json"}),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("\"/no/such/folder/pool.json\"")));
  fs::create_directory(File());  // in its way
  auto pool = MakePool({.trace_file = File()});
  ASSERT_THAT(pool, IsOk());
  pool->Close();
  const absl::Status joined = pool->Join();
  EXPECT_THAT(joined.message(), HasSubstr("rename"));
  EXPECT_EQ(Files(), 1) << "something temporary is left";
}

}  // namespace
}  // namespace mp
