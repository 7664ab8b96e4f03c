#ifndef MP_PROCESS_INTERNAL_IMAGE_H_
#define MP_PROCESS_INTERNAL_IMAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The program and its shared libraries, and how a piece of their code is named
// between two processes that have them at different addresses.
namespace mp::internal {

// Code, as (image, offset).
struct CodeLocation {
  // The build-id that the linker wrote into the image, or where there is none a
  // hash of all that the image has mapped read-only, its code among it; and the
  // library's file name, since short libraries may be alike to the byte.
  std::string image_id;
  // From where the image starts in memory.
  uint64_t offset = 0;
};

// Remembers the images that are loaded now, which those of a new process will
// be when it gets here. Called by Init(); the first call counts.
void RememberStartupImages();

// Names the code at `address`.
//
// Errors:
//   kInvalidArgument     it is no executable code of a program or library.
//   kFailedPrecondition  `must_be_startup_image`, and it lies in a library that
//                        was loaded since, so a new process would lack it.
absl::StatusOr<CodeLocation> LocateCode(const void* address,
                                        bool must_be_startup_image);

// Finds code by its name in this process.
//
// Errors:
//   kFailedPrecondition  no such image is loaded; the message lists those that
//                        are, with their ids.
//   kDataLoss            the offset is not in executable code of that image.
absl::StatusOr<const void*> FindCode(const CodeLocation& location);

// Lists the images of this process, one a line, with their ids.
std::string DescribeImages();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_IMAGE_H_
