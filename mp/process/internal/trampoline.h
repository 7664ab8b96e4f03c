#ifndef MP_PROCESS_INTERNAL_TRAMPOLINE_H_
#define MP_PROCESS_INTERNAL_TRAMPOLINE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"

namespace mp::internal {

class Call;

// Reads the callable and the arguments of one kind of call. There is one such
// function for each combination of types, made by a template; its address says
// on the wire which types follow.
using Trampoline = absl::StatusOr<std::unique_ptr<Call>> (*)(Decoder&);

// Makes a trampoline known when its image is loaded, and unknown when it goes.
// A receiver calls no others, so a forged message cannot choose what is called
// to read it.
class TrampolineRegistration {
 public:
  explicit TrampolineRegistration(Trampoline trampoline);
  ~TrampolineRegistration();
  TrampolineRegistration(const TrampolineRegistration&) = delete;
  TrampolineRegistration& operator=(const TrampolineRegistration&) = delete;

 private:
  const Trampoline trampoline_;
};

void WriteTrampoline(Trampoline trampoline, Encoder& encoder);

// Errors:
//   kFailedPrecondition  the image is not loaded here.
//   kDataLoss            it is no trampoline.
absl::StatusOr<Trampoline> ReadTrampoline(Decoder& decoder);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_TRAMPOLINE_H_
