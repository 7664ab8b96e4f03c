#ifndef MP_PROCESS_INTERNAL_EXCHANGE_H_
#define MP_PROCESS_INTERNAL_EXCHANGE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"

namespace mp::internal {

// The caller's ends of the pipes to some programs, all served at once: so
// neither side waits for the other, however much goes through.
//
// Threads: one at a time.
class Exchange {
 public:
  // A pipe and the pidfd, owned by somebody else, of the program at its other
  // end.
  struct End {
    Fd pipe;
    int program = -1;
  };

  // What is written to a program. One that does not read it, or all of it, is
  // no error.
  End input;
  bool takes_input = false;  // whether there was a pipe to begin with

  // What a program writes.
  struct Output {
    End end;
    std::string text;
  };
  std::vector<Output> outputs;

  // No output is to be longer.
  size_t max_output_bytes = ~size_t{0};

  // Whether an output ends with its program, or only once nobody has its other
  // end any more.
  bool until_closed = false;

  // Writes `text`, and what is left of those before, and reads until all
  // outputs have ended.
  //
  // Errors:
  //   kDeadlineExceeded   go on by calling it again, with no text.
  //   kResourceExhausted  an output is too long.
  //   kInvalidArgument    a text, but no pipe for it.
  absl::Status Run(std::string text, const Deadline& deadline);

 private:
  bool Done() const;
  absl::Status ServeOnce(const Deadline& deadline);
  void Write();
  absl::StatusOr<size_t> Read(Output& output);
  absl::Status ReadRest(Output& output);

  std::string text_;
  size_t written_ = 0;
  std::vector<char> buffer_;
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_EXCHANGE_H_
