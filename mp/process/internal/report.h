#ifndef MP_PROCESS_INTERNAL_REPORT_H_
#define MP_PROCESS_INTERNAL_REPORT_H_

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/serializer.h"

// How the processes of a test tell it what they see.
namespace mp {
namespace internal {

// A descriptor that travels, for what a child reports.
struct Report {
  std::shared_ptr<Fd> fd;
};

}  // namespace internal

template <>
struct Serializer<internal::Report> {
  static void Encode(const internal::Report& report, Encoder& encoder) {
    encoder.WriteHandle(report.fd->get());
  }
  static absl::StatusOr<internal::Report> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(Fd fd, decoder.ReadHandle());
    return internal::Report{std::make_shared<Fd>(std::move(fd))};
  }
};

namespace internal {

// A pipe to read what a child says, to its end.
class Listener {
 public:
  Listener() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    reader_ = Fd(ends[0]);
    report_.fd = std::make_shared<Fd>(ends[1]);
  }
  const Report& report() const { return report_; }

  // Returns the next `size` bytes that are said.
  std::string Hear(size_t size) {
    std::string text(size, '?');
    MP_CHECK_OK(ReadUpTo(reader_.get(), text.data(), size));
    return text;
  }

  // Returns all that was said. Nobody else may hold the report by then.
  std::string Hear() {
    report_.fd->Close();
    return ReadToEnd(reader_.get()).value_or("(unreadable)");
  }

 private:
  Fd reader_;
  Report report_;
};

inline Report Copy(const Fd& fd) {
  return {std::make_shared<Fd>(dup(fd.get()))};
}

// Waits until somebody signals.
inline void AwaitRelease(const Report& release) {
  MP_CHECK_OK(
      WaitForFd(release.fd->get(), POLLIN, Deadline(absl::Seconds(60))));
}

inline void Say(const Report& report, absl::string_view text) {
  MP_CHECK_OK(WriteAll(report.fd->get(), text));
}

}  // namespace internal
}  // namespace mp

#endif  // MP_PROCESS_INTERNAL_REPORT_H_
