#ifndef MP_POOL_INTERNAL_COMMON_BYTES_H_
#define MP_POOL_INTERNAL_COMMON_BYTES_H_

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// A value that many tasks have in common: an object, and the sealed file from
// which other processes make theirs. CommonData, but for its type.
struct CommonObject {
  CommonObject(Fd f, size_t bytes) : file(std::move(f)), size_bytes(bytes) {}
  virtual ~CommonObject() = default;

  const Fd file;
  const size_t size_bytes;
};

// Writes an encoded value to a file of its own.
//
// Errors:
//   kInvalidArgument    it has descriptors, which a file cannot hold.
//   kResourceExhausted  no memory or no descriptor left.
absl::StatusOr<Fd> WriteCommonFile(Parcel parcel);

// Has this process find `object` when it is told of its file.
//
// Returns what is found from now on: another one, if there is one already.
std::shared_ptr<const CommonObject> RegisterCommon(
    const void* type, std::shared_ptr<const CommonObject> object);

// Writes which object it is; the file only once for each message.
void EncodeCommon(const std::shared_ptr<const CommonObject>& object,
                  Encoder& encoder);

// Makes an object of an encoded value.
using MakeCommon =
    absl::StatusOr<std::shared_ptr<const CommonObject>> (*)(Fd, Parcel);

// Returns the object that this process has, or has now, of that file.
//
// Errors:
//   kDataLoss           these are not the bytes of one.
//   kResourceExhausted  no memory or no descriptor left.
//   those of `make`
absl::StatusOr<std::shared_ptr<const CommonObject>> DecodeCommon(
    const void* type, MakeCommon make, Decoder& decoder);

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_COMMON_BYTES_H_
