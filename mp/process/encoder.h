#ifndef MP_PROCESS_ENCODER_H_
#define MP_PROCESS_ENCODER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/process/parcel.h"
#include "mp/process/per_message.h"
#include "mp/process/travel.h"

namespace mp {

// How deep values may lie in each other, for both ends: a forged message must
// not overrun the receiver's stack, and the sender is told first.
inline constexpr int kMaxNesting = 200;

// Writes values into a Parcel.
//
// Example:
//   Encoder encoder;
//   encoder.Write(std::vector<std::string>{"a", "b"});
//   MP_ASSIGN_OR_RETURN(Parcel parcel, std::move(encoder).Finish());
//
// The first error sticks: later writes do nothing and Finish() returns it.
//
// Shape:   numbers in the machine's own byte order, counts as LEB128 varints.
//          Each value takes at least one byte, so that a receiver can hold a
//          count against the bytes at hand before it believes it. The format is
//          for two processes of one machine and one program, not for files.
// Owns:    duplicates of the descriptors that were written.
// Threads: one at a time.
class Encoder {
 public:
  // Who is going to read this.
  enum class Receiver {
    // A process with the same libraries loaded, or one that will say itself
    // what it lacks.
    kAny,
    // A new process of this program, which has those libraries that this
    // process had at mp::Init(). Code in others is refused.
    kNewProcess,
  };

  explicit Encoder(Receiver receiver = Receiver::kAny) : receiver_(receiver) {}

  // Writes a value through Serializer<T>. Does not compile for a type that
  // cannot travel; the error says what to use instead.
  template <typename T>
  void Write(const T& value) {
    internal::CheckTravels<T>();
    if constexpr (internal::Travels<T>) {
      if (!Enter()) return;
      Serializer<T>::Encode(value, *this);
      --depth_;
    }
  }

  // What a Serializer is made of:

  // Writes `size` bytes as they are.
  void WriteRaw(const void* bytes, size_t size);

  // Writes a count, at most 10 bytes.
  void WriteCount(uint64_t count);

  // Writes a count and as many bytes.
  void WriteString(absl::string_view bytes);

  // Writes a duplicate of a descriptor, which the receiver gets as its own.
  void WriteHandle(int fd);

  // Makes Finish() return `error`, unless it has one already.
  void Fail(absl::Status error);

  Receiver receiver() const { return receiver_; }

  // What values of this message have in common, for as long as this lives.
  PerMessage& per_message() { return per_message_; }

  // Returns what was written, or the first error.
  absl::StatusOr<Parcel> Finish() &&;

 private:
  bool Enter();

  const Receiver receiver_;
  PerMessage per_message_;
  Parcel parcel_;
  absl::Status status_;
  int depth_ = 0;
};

}  // namespace mp

#endif  // MP_PROCESS_ENCODER_H_
