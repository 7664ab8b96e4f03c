#ifndef MP_TESTING_CRASH_MONKEY_H_
#define MP_TESTING_CRASH_MONKEY_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/testing/child.h"
#include "mp/testing/test_scale.h"

namespace mp::testing {

// What one process of a CrashMonkey has done, where all see it.
struct MonkeyTurns {
  std::atomic<uint64_t> turns = 0;
};

// One process of a CrashMonkey, as its body sees it.
class MonkeyMember {
 public:
  // Which one it is: 0 and on. One that takes a killed one's place has the same
  // index.
  int index() const { return index_; }

  // Says that one more turn is done, and whether there is to be another.
  bool GoesOn();

 private:
  friend class CrashMonkey;

  MonkeyMember(int index, MonkeyTurns& turns, const std::atomic<bool>& is_over)
      : index_(index), turns_(turns), is_over_(is_over) {}

  const int index_;
  MonkeyTurns& turns_;
  const std::atomic<bool>& is_over_;
};

// Has several processes do the same thing again and again, kills one after
// another at random moments and puts new ones in their places, and sees that
// those who live go on.
//
// Example:
//   CrashMonkey monkey({.processes = 8});
//   EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
//     while (me.GoesOn()) MP_RETURN_IF_ERROR(UseOnce(lock, me.index()));
//     return absl::OkStatus();
//   }), IsOk());
//   ...what must hold when all of them have ended?
//
// A body says by its status that something is wrong: that two of them are where
// one may be, say. Some are stopped for a while before they are killed, some
// are zombies for a while after it, and some only stop and go on.
//
// Shape:   a child process for each; 1 to 64.
// Owns:    the children, for as long as Run() lasts.
// Threads: see RunInChild(): call it before the test starts threads.
class CrashMonkey {
 public:
  struct Options {
    int processes = 8;

    // How many are killed. By default 200, 2000 in a full test, and a tenth of
    // it under a sanitizer.
    int kills = Scaled(200, 2000);

    // There is a pause of up to this between two kills.
    absl::Duration pause = absl::Milliseconds(5);

    // How long each process has, after the last kill, for two turns and to end.
    absl::Duration patience = absl::Seconds(60);

    // The same seed has the same processes killed, but not at the same
    // instructions.
    uint64_t seed = TestSeed();
  };

  using Body = std::function<absl::Status(MonkeyMember&)>;

  explicit CrashMonkey(Options options);
  ~CrashMonkey();
  CrashMonkey(const CrashMonkey&) = delete;
  CrashMonkey& operator=(const CrashMonkey&) = delete;

  // Does all of that, once. The messages name the seed.
  //
  // Errors:
  //   kDeadlineExceeded  a process that lives has not gone on after the last
  //                      kill: it hangs.
  //   kInternal          a body returned an error or ended its process.
  absl::Status Run(const Body& body);

  // How many turns all have done so far, those killed as well.
  uint64_t turns() const;

 private:
  struct Shared;

  Child Start(int index) const;
  absl::Status KillAndSee();
  absl::Status KillOne();
  absl::Status CheckTheyLive();
  absl::Status UnwantedEnd(int index);
  absl::Status AwaitTurns();
  absl::Status AwaitEnds();
  absl::Status Error(absl::StatusCode code, int index,
                     absl::string_view what) const;
  uint64_t Random(uint64_t below);
  absl::Duration RandomPause();

  const Options options_;
  Shared& shared_;
  std::mt19937_64 random_;
  const Body* body_ = nullptr;
  int kills_ = 0;
  std::vector<Child> members_;
};

}  // namespace mp::testing

#endif  // MP_TESTING_CRASH_MONKEY_H_
