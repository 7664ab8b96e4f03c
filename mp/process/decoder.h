#ifndef MP_PROCESS_DECODER_H_
#define MP_PROCESS_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/process/parcel.h"
#include "mp/process/per_message.h"
#include "mp/process/travel.h"

namespace mp {

// Reads the values of a Parcel in the order in which an Encoder wrote them.
//
// Example:
//   Decoder decoder(std::move(parcel));
//   MP_ASSIGN_OR_RETURN(auto names, decoder.Read<std::vector<std::string>>());
//   MP_RETURN_IF_ERROR(decoder.ExpectEnd());
//
// The bytes may come from anyone: what is not well formed is kDataLoss, never a
// crash, and takes no more memory than a small multiple of its own size.
//
// Owns:    the parcel; descriptors that nobody reads are closed with it.
// Threads: one at a time.
class Decoder {
 public:
  explicit Decoder(Parcel parcel)
      : parcel_(std::move(parcel)), left_(parcel_.bytes) {}
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // Reads a value through Serializer<T>.
  //
  // Errors:
  //   kDataLoss  the bytes are no T.
  template <typename T>
  ReadResult<T> Read() {
    internal::CheckTravels<T>();
    if constexpr (internal::Travels<T>) {
      if (!Enter()) return TooDeep();
      ReadResult<T> value = Serializer<T>::Decode(*this);
      --depth_;
      return value;
    } else {
      return absl::InternalError("unreachable: this does not compile");
    }
  }

  // What a Serializer is made of:

  // Reads `size` bytes into `into`.
  absl::Status ReadRaw(void* into, size_t size);

  // Reads a number of things that take at least a byte each, so that it cannot
  // be larger than what is left.
  absl::StatusOr<size_t> ReadCount();

  // Reads any number.
  absl::StatusOr<uint64_t> ReadNumber();

  // Reads a count and as many bytes, which live as long as the decoder.
  absl::StatusOr<absl::string_view> ReadString();

  // Reads a descriptor. Each can be read once.
  absl::StatusOr<Fd> ReadHandle();

  // Returns kDataLoss unless everything has been read.
  absl::Status ExpectEnd() const;

  size_t bytes_left() const { return left_.size(); }

  // What values of this message have in common, for as long as this lives.
  PerMessage& per_message() { return per_message_; }

 private:
  bool Enter();
  static absl::Status TooDeep();

  Parcel parcel_;
  PerMessage per_message_;
  absl::string_view left_;
  int depth_ = 0;
};

}  // namespace mp

#endif  // MP_PROCESS_DECODER_H_
