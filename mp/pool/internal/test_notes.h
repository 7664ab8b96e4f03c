#ifndef MP_POOL_INTERNAL_TEST_NOTES_H_
#define MP_POOL_INTERNAL_TEST_NOTES_H_

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <utility>

#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/pool/pool_options.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp::internal {

// What tasks of a test note about themselves where the test sees it, also if
// they are killed: each item how often it was begun, and each worker which one
// it began last.
//
// Example:
//   MP_ASSIGN_OR_RETURN(const TestNotes notes, TestNotes::Create(1000));
//   Pool::Create({.initializer = notes.Initializer()});
//   ...
//   int Work(int item) {
//     TestNotes::Mine().Begin(item);
//     ...
//     TestNotes::Mine().End(item);
//
// Shape:   up to 1 Mi items and 16 Ki workers.
// Threads: a worker for each process.
class TestNotes {
 public:
  static constexpr size_t kMaxItems = size_t{1} << 20;
  static constexpr size_t kMaxWorkers = size_t{1} << 14;

  static absl::StatusOr<TestNotes> Create() {
    MP_ASSIGN_OR_RETURN(SharedMemory memory,
                        SharedMemory::Create(sizeof(Page)));
    return TestNotes(std::move(memory));
  }

  // Has each worker of a pool take part.
  PoolInitializer Initializer() const {
    return PoolInitializer(TakePart, memory_);
  }

  // Those of the pool that this process works for.
  static const TestNotes& Mine() { return *mine_; }

  void Begin(int item) const {
    page().workers[my_index_].last_begun = item;
    ++page().items[item].begun;
    ++page().begun;
  }
  void End(int item) const {
    ++page().items[item].ended;
    ++page().ended;
  }

  int begun(size_t item) const { return page().items[item].begun; }
  int ended(size_t item) const { return page().items[item].ended; }

  // Of all items.
  int64_t begun() const { return page().begun; }
  int64_t ended() const { return page().ended; }

  // Which items the processes that had this pid began last.
  std::set<int> LastBegunBy(pid_t pid) const {
    std::set<int> items;
    for (size_t i = 0; i < page().workers_seen && i < kMaxWorkers; ++i) {
      const Worker& worker = page().workers[i];
      if (worker.pid == pid) items.insert(worker.last_begun);
    }
    return items;
  }

 private:
  struct Item {
    std::atomic<uint8_t> begun;
    std::atomic<uint8_t> ended;
  };
  struct Worker {
    std::atomic<pid_t> pid;
    std::atomic<int> last_begun;
  };
  struct Page {
    std::atomic<int64_t> begun;
    std::atomic<int64_t> ended;
    std::atomic<size_t> workers_seen;
    Worker workers[kMaxWorkers];
    Item items[kMaxItems];
  };

  explicit TestNotes(SharedMemory memory) : memory_(std::move(memory)) {}

  static void TakePart(SharedMemory memory) {
    static TestNotes* notes = nullptr;
    delete notes;
    notes = new TestNotes(std::move(memory));
    my_index_ = notes->page().workers_seen++ % kMaxWorkers;
    Worker& me = notes->page().workers[my_index_];
    me.pid = getpid();
    me.last_begun = -1;
    mine_ = notes;
  }

  Page& page() const { return *reinterpret_cast<Page*>(memory_.data().data()); }

  static inline const TestNotes* mine_ = nullptr;
  static inline size_t my_index_ = 0;

  SharedMemory memory_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_TEST_NOTES_H_
