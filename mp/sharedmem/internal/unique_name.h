#ifndef MP_SHAREDMEM_INTERNAL_UNIQUE_NAME_H_
#define MP_SHAREDMEM_INTERNAL_UNIQUE_NAME_H_

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mp::internal {

// Made before main(): a process that is forked while another thread makes a
// static variable waits for it for ever.
inline const std::string run_of_test =
    absl::StrCat(absl::Hex(std::random_device()(), absl::kZeroPad8));

// Returns a name that no other run of a test has: the same for the same `what`
// in this process and those that it forks. A pid would not do: in a PID
// namespace of its own, each run has the same.
inline std::string UniqueName(absl::string_view what) {
  return absl::StrCat("mp_test.", run_of_test, ".", what);
}

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_UNIQUE_NAME_H_
