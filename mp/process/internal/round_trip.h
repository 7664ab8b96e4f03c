#ifndef MP_PROCESS_INTERNAL_ROUND_TRIP_H_
#define MP_PROCESS_INTERNAL_ROUND_TRIP_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"
#include "mp/process/travel.h"

// For tests: sends values to another process without the other process.
//
// Example:
//   EXPECT_TRUE(Travels(std::vector<int>{1, 2}));
//   EXPECT_THAT(Unpack<bool>("\2"), StatusIs(absl::StatusCode::kDataLoss));

namespace mp::testing {

template <typename T>
absl::StatusOr<Parcel> Pack(const T& value) {
  Encoder encoder;
  encoder.Write(value);
  return std::move(encoder).Finish();
}

// Reads the one value of a parcel.
template <typename T>
ReadResult<T> Unpack(Parcel parcel) {
  Decoder decoder(std::move(parcel));
  ReadResult<T> value = decoder.Read<T>();
  if (value.ok()) MP_RETURN_IF_ERROR(decoder.ExpectEnd());
  return value;
}

template <typename T>
ReadResult<T> Unpack(std::string bytes) {
  return Unpack<T>(Parcel{std::move(bytes), {}});
}

template <typename T>
ReadResult<T> RoundTrip(const T& value) {
  MP_ASSIGN_OR_RETURN(Parcel parcel, Pack(value));
  return Unpack<T>(std::move(parcel));
}

namespace internal {

template <typename T>
bool Holds(const absl::StatusOr<T>& result, const T& value) {
  return result.ok() && *result == value;
}
inline bool Holds(const absl::StatusOr<StatusValue>& result,
                  const absl::Status& value) {
  return result.ok() && result->status == value;
}

// Tries bytes cut short anywhere, and longer by one.
inline ::testing::AssertionResult OtherLengthsAreRefused(
    const std::string& bytes, absl::Status (*unpack)(std::string)) {
  for (size_t size = 0; size <= bytes.size() + 1; ++size) {
    if (size == bytes.size()) continue;
    const absl::Status status = unpack((bytes + '\0').substr(0, size));
    if (!absl::IsDataLoss(status)) {
      return ::testing::AssertionFailure()
             << size << " bytes instead of " << bytes.size() << ": " << status;
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace internal

// Whether the copy of a value in another process is equal to it, and its parcel
// is kDataLoss when it is cut short anywhere or longer by a byte. For values
// without descriptors.
template <typename T>
::testing::AssertionResult Travels(const T& value) {
  const absl::StatusOr<Parcel> parcel = Pack(value);
  if (!parcel.ok()) return ::testing::AssertionFailure() << parcel.status();
  const ReadResult<T> copy = Unpack<T>(parcel->bytes);
  if (!internal::Holds(copy, value)) {
    return ::testing::AssertionFailure() << "it changes, " << copy.status();
  }
  return internal::OtherLengthsAreRefused(parcel->bytes, [](std::string bytes) {
    return Unpack<T>(std::move(bytes)).status();
  });
}

}  // namespace mp::testing

#endif  // MP_PROCESS_INTERNAL_ROUND_TRIP_H_
