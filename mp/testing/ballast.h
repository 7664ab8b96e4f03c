#ifndef MP_TESTING_BALLAST_H_
#define MP_TESTING_BALLAST_H_

#include <cstddef>

#include "absl/status/statusor.h"

namespace mp::testing {

// Memory of this process that it has touched, in pages of the smallest size: to
// show what it costs to be large.
//
// Example:
//   MP_ASSIGN_OR_RETURN(const Ballast gigabyte, Ballast::Create(1 << 30));
//   ... // whatever is slower in a large process
//
// Owns: the memory; the destructor gives it back.
class Ballast {
 public:
  // Errors:
  //   kResourceExhausted  not so much memory.
  static absl::StatusOr<Ballast> Create(size_t size_bytes);

  Ballast(Ballast&& other) noexcept;
  Ballast& operator=(Ballast&& other) noexcept;
  ~Ballast();

 private:
  Ballast(void* memory, size_t size_bytes)
      : memory_(memory), size_bytes_(size_bytes) {}

  void* memory_;
  size_t size_bytes_;
};

}  // namespace mp::testing

#endif  // MP_TESTING_BALLAST_H_
