#include <string>

#include "examples/internal/program_run.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/child.h"

namespace examples {
namespace {

using ::mp::testing::ExitedWith;
using ::testing::HasSubstr;

constexpr char kLedger[] = "examples/ledger";

TEST(LedgerTest, NoMoneyIsLostWithATeller) {
  for (int i = 0; i < 10; ++i) {
    ProgramRun run({kLedger});
    const ProgramResult result = run.Wait();
    EXPECT_THAT(result.status, ExitedWith(0)) << result.err;
    EXPECT_THAT(result.out, HasSubstr("3 of 4 tellers finished"));
    EXPECT_THAT(result.out, HasSubstr("= 1000000 after 1 repair"));
  }
}

TEST(LedgerTest, RefusesAWrongNumber) {
  for (const std::string wrong : {"1", "101", "x"}) {
    EXPECT_THAT(ProgramRun({kLedger, wrong}).Wait().status, ExitedWith(2));
  }
}

}  // namespace
}  // namespace examples
