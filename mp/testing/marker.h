#ifndef MP_TESTING_MARKER_H_
#define MP_TESTING_MARKER_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"

namespace mp::testing {

// A pipe through which one process tells another how far it is, so that a test
// waits for a byte and not for time to pass.
//
// Example:
//   Marker ready = *Marker::Create();
//   Child child = RunInChild([&]() -> absl::Status {
//     MP_RETURN_IF_ERROR(ready.Signal());
//     ...
//   });
//   ASSERT_THAT(ready.Await(), IsOk());
//
// Shape:   each Signal() lets one Await() pass, earlier or later. There is room
//          for some thousands.
// Owns:    both ends of the pipe, close-on-exec.
// Threads: safe from any thread, and on both sides of a fork.
class Marker {
 public:
  static absl::StatusOr<Marker> Create();

  absl::Status Signal();

  // Errors:
  //   kDeadlineExceeded  no signal came in time.
  absl::Status Await(absl::Duration timeout = absl::Seconds(30));

  // The ends, for one who waits or signals by other means: poll(2), say, or a
  // program that inherits one. A signal is a byte of any value.
  const Fd& reader() const { return reader_; }
  const Fd& writer() const { return writer_; }

 private:
  Marker(Fd reader, Fd writer)
      : reader_(std::move(reader)), writer_(std::move(writer)) {}

  Fd reader_;
  Fd writer_;
};

}  // namespace mp::testing

#endif  // MP_TESTING_MARKER_H_
