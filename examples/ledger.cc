// Moves money between two accounts that lie in shared memory, from several
// processes at once. The first one is killed in the middle of a transfer;
// whoever comes next repairs the accounts, and all the others go on.
//
// usage: ledger [TELLERS]
//
// TELLERS is a number from 2 to 100; 4 unless given.
//
// Exit status: 0 if no money was lost, 1 if some was, 2 after a wrong argument.

#include <signal.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "mp/base/status_macros.h"
#include "mp/process/init.h"
#include "mp/process/process.h"
#include "mp/sharedmem/value.h"
#include "mp/sync/lock.h"

namespace {

constexpr int64_t kTotal = 1'000'000;
constexpr int kTransfers = 1'000;  // by each teller

struct Accounts {
  int64_t savings;
  int64_t current;
  int repairs;
};
using Ledger = mp::Value<Accounts, mp::Lock>;

// Sets the accounts right after a teller that did not finish.
void Repair(Accounts& accounts) {
  accounts.current = kTotal - accounts.savings;
  ++accounts.repairs;
}

// Takes the lock of a ledger, whose last holder may have died.
absl::Status Take(Ledger& ledger) {
  absl::Status taken = ledger.Acquire();
  while (absl::IsAborted(taken)) {
    if (ledger.get_lock().AcquireAbandoned().ok()) {
      Repair(*ledger.get_obj());
      return ledger.get_lock().MarkRepaired();
    }
    taken = ledger.Acquire();  // another one repairs
  }
  return taken;
}

// One teller, who is killed half-way through one transfer if `is_doomed`.
absl::Status Transfer(Ledger ledger, bool is_doomed) {
  for (int i = 0; i < kTransfers; ++i) {
    MP_RETURN_IF_ERROR(Take(ledger));
    Accounts& accounts = *ledger.get_obj();
    --accounts.savings;
    if (is_doomed && i == kTransfers / 2) raise(SIGKILL);
    ++accounts.current;
    MP_RETURN_IF_ERROR(ledger.Release());
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Run(int tellers) {
  MP_ASSIGN_OR_RETURN(auto ledger, Ledger::Create(Accounts{kTotal, 0, 0}));
  std::vector<std::unique_ptr<mp::Process>> processes;
  for (int i = 0; i < tellers; ++i) {
    processes.push_back(
        std::make_unique<mp::Process>(Transfer, ledger, /*is_doomed=*/i == 0));
    MP_RETURN_IF_ERROR(processes.back()->Start());
  }
  int finished = 0;
  for (const auto& process : processes) {
    MP_RETURN_IF_ERROR(process->Join());
    if (process->exitcode() == 0) ++finished;
  }
  MP_RETURN_IF_ERROR(Take(ledger));  // the one that died may have been the last
  const Accounts& accounts = *ledger.get_obj();
  std::cout << finished << " of " << tellers << " tellers finished; "
            << accounts.savings << " + " << accounts.current << " = "
            << accounts.savings + accounts.current << " after "
            << accounts.repairs << " repair\n";
  const bool is_whole = accounts.savings + accounts.current == kTotal;
  MP_RETURN_IF_ERROR(ledger.Release());
  return is_whole;
}

}  // namespace

int main(int argc, char** argv) {
  mp::Init(argc, argv);
  int tellers = 4;
  if (argc > 2 || (argc == 2 && (!absl::SimpleAtoi(argv[1], &tellers) ||
                                 tellers < 2 || tellers > 100))) {
    std::cerr << "usage: ledger [TELLERS], from 2 to 100\n";
    return 2;
  }
  const absl::StatusOr<bool> is_whole = Run(tellers);
  if (!is_whole.ok()) std::cerr << "ledger: " << is_whole.status() << "\n";
  return is_whole.value_or(false) ? 0 : 1;
}
