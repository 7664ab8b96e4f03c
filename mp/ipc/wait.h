#ifndef MP_IPC_WAIT_H_
#define MP_IPC_WAIT_H_

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace mp {

// Something to wait for: a Connection, a Listener, a Queue, the sentinel of a
// Process, any other descriptor, or anything that has a fileno().
//
// What a type knows beyond its descriptor it says by one of
//   bool IsReadyNow() const;  // asked once, before the wait
//   bool IsReadable() const;  // asked before, and every 50 ms
//
// Shape: a value, which converts from all of these.
// Owns:  nothing: the object outlives it.
struct WaitItem {
  // A descriptor.
  WaitItem(int fd) : fd(fd) {}  // NOLINT(google-explicit-constructor)

  template <typename T>
  requires(!std::is_arithmetic_v<T> &&
           requires(const T& object) {
             { object.fileno() } -> std::convertible_to<int>;
           }) WaitItem(const T& object)  // NOLINT(google-explicit-constructor)
      : fd(object.fileno()), object(&object) {
    if constexpr (requires {
                    { object.IsReadable() } -> std::same_as<bool>;
                  }) {
      ready = [](const void* it) {
        return static_cast<const T*>(it)->IsReadable();
      };
      ask_again = true;
    } else if constexpr (requires {
                           { object.IsReadyNow() } -> std::same_as<bool>;
                         }) {
      ready = [](const void* it) {
        return static_cast<const T*>(it)->IsReadyNow();
      };
    }
  }

  int fd;
  const void* object = nullptr;
  bool (*ready)(const void*) = nullptr;
  bool ask_again = false;  // not only at first
};

// Waits until one of `items` is ready: there is something to receive, somebody
// to accept, or its other end or process has ended. Returns which ones, in
// their order; none if that takes longer than `timeout`.
//
// Example:
//   MP_ASSIGN_OR_RETURN(const std::vector<size_t> ready,
//                       mp::Wait({connection, process.sentinel()}));
//   if (ready.front() == 0) return connection.Recv<int>();
//
// Shape:   any number, the same more than once, with any numbers.
// Units:   an infinite timeout waits, a zero or negative one only looks.
// Threads: safe; what another thread takes meanwhile is not there any more.
// Death:   a peer that is killed makes its connection ready, and a process its
//          sentinel. Signals do not end the wait.
// Source:  CPython multiprocessing.connection.wait(). Differs: gives places in
//          the list, and duplicates are none of its errors.
//
// Errors:
//   kFailedPrecondition  an item is closed; the message says which one.
//   kInvalidArgument     a descriptor is not open; or there are no items, and
//                        no end of the wait.
//   kResourceExhausted   more items than RLIMIT_NOFILE.
absl::StatusOr<std::vector<size_t>> Wait(
    absl::Span<const WaitItem> items,
    absl::Duration timeout = absl::InfiniteDuration());

}  // namespace mp

#endif  // MP_IPC_WAIT_H_
