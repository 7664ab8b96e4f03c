// Feeds bytes to the reader of frames, from a descriptor and from a stream that
// gives them in small pieces, and compares what comes out with a reading by
// hand.
//
// The first byte of the input is how large the pieces are, the second the limit
// to a message in units of 64 bytes, and the rest the stream.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/frame.h"
#include "mp/base/frame_stream.h"
#include "mp/base/io.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"

namespace mp {
namespace {

// A socket's buffer takes it without a reader.
constexpr size_t kMaxInput = size_t{1} << 14;

// How a stream ends, and what messages it has before that.
struct Reading {
  std::vector<std::string> messages;
  absl::StatusCode end = absl::StatusCode::kOutOfRange;

  bool operator==(const Reading& other) const {
    return messages == other.messages && end == other.end;
  }
};

uint64_t TakeNumber(absl::string_view& bytes, size_t size) {
  uint64_t number = 0;
  for (size_t i = 0; i < size; ++i) {
    number = number << 8 | static_cast<uint8_t>(bytes[i]);
  }
  bytes.remove_prefix(size);
  return number;
}

Reading ReadByHand(absl::string_view bytes, uint64_t limit) {
  Reading reading;
  while (!bytes.empty()) {
    reading.end = absl::StatusCode::kDataLoss;
    if (bytes.size() < 4) return reading;
    uint64_t size = TakeNumber(bytes, 4);
    if (size == 0xffffffff) {
      if (bytes.size() < 8) return reading;
      size = TakeNumber(bytes, 8);
      if (size > INT64_MAX) return reading;
    } else if (size > 0x7fffffff) {
      return reading;
    }
    if (size > limit) {
      reading.end = absl::StatusCode::kResourceExhausted;
      return reading;
    }
    if (size > bytes.size()) return reading;
    reading.messages.emplace_back(bytes.substr(0, size));
    bytes.remove_prefix(size);
    reading.end = absl::StatusCode::kOutOfRange;
  }
  return reading;
}

class PieceStream final : public FrameStream {
 public:
  PieceStream(absl::string_view bytes, size_t piece)
      : bytes_(bytes), piece_(piece) {}

  absl::Status WriteAll(absl::Span<const absl::string_view>, const Deadline&,
                        size_t*) override {
    return absl::UnimplementedError("it is read only");
  }
  absl::StatusOr<size_t> ReadSome(absl::Span<char> into,
                                  const Deadline&) override {
    const size_t size = std::min({into.size(), piece_, bytes_.size()});
    std::copy_n(bytes_.begin(), size, into.begin());
    bytes_.remove_prefix(size);
    return size;
  }
  absl::string_view name() const override { return "pieces"; }

 private:
  absl::string_view bytes_;
  const size_t piece_;
};

Reading ReadAll(const FrameReader::Source& source, uint64_t limit) {
  Reading reading;
  FrameReader reader;
  while (true) {
    absl::StatusOr<FrameReader::Frame> frame =
        reader.Read(source, limit, Deadline(absl::Seconds(60)));
    if (!frame.ok()) {
      reading.end = frame.status().code();
      return reading;
    }
    reading.messages.push_back(std::move(frame->bytes));
  }
}

void Compare(const char* what, const Reading& got, const Reading& wanted) {
  if (got == wanted) return;
  std::cerr << what << ": " << got.messages.size() << " messages and code "
            << static_cast<int>(got.end) << "; by hand "
            << wanted.messages.size() << " and " << static_cast<int>(wanted.end)
            << "\n";
  std::abort();
}

void Check(absl::string_view bytes, size_t piece, uint64_t limit) {
  const Reading wanted = ReadByHand(bytes, limit);
  PieceStream stream(bytes, piece);
  Compare("stream", ReadAll({.stream = &stream}, limit), wanted);
  auto sockets = CreateSocketPair();
  MP_CHECK_OK(sockets);
  MP_CHECK_OK(WriteAll(sockets->second.get(), bytes));
  sockets->second.Close();
  Compare("socket", ReadAll({.fd = sockets->first.get()}, limit), wanted);
}

}  // namespace
}  // namespace mp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > mp::kMaxInput) return 0;
  mp::Check({reinterpret_cast<const char*>(data) + 2, size - 2},
            size_t{1} + data[0], uint64_t{64} * data[1]);
  return 0;
}
