#include "mp/process/internal/trampoline.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/parcel.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

absl::StatusOr<std::unique_ptr<Call>> ReadOneKind(Decoder&) {
  return absl::UnimplementedError("one");
}
absl::StatusOr<std::unique_ptr<Call>> ReadOtherKind(Decoder&) {
  return absl::UnimplementedError("other");
}

absl::StatusOr<Trampoline> RoundTrip(Trampoline trampoline) {
  Encoder encoder;
  WriteTrampoline(trampoline, encoder);
  Decoder decoder(*std::move(encoder).Finish());
  return ReadTrampoline(decoder);
}

// It is a function of this program, and nothing else is wrong with it.
const auto kIsRefused =
    StatusIs(absl::StatusCode::kDataLoss,
             HasSubstr("a call of a kind that this program does not have"));

TEST(TrampolineTest, RegisteredOneTravels) {
  const TrampolineRegistration one(&ReadOneKind);
  const TrampolineRegistration other(&ReadOtherKind);
  EXPECT_THAT(RoundTrip(&ReadOneKind), IsOkAndHolds(&ReadOneKind));
  EXPECT_THAT(RoundTrip(&ReadOtherKind), IsOkAndHolds(&ReadOtherKind));
}

TEST(TrampolineTest, OtherFunctionsAreRefused) {
  const TrampolineRegistration one(&ReadOneKind);
  EXPECT_THAT(RoundTrip(&ReadOtherKind), kIsRefused);
}

TEST(TrampolineTest, MiddleOfOneIsRefused) {
  const TrampolineRegistration one(&ReadOneKind);
  const auto middle = reinterpret_cast<uintptr_t>(&ReadOneKind) + 1;
  EXPECT_THAT(RoundTrip(reinterpret_cast<Trampoline>(middle)), kIsRefused);
}

TEST(TrampolineTest, IsRefusedOnceItsImageIsGone) {
  std::optional<TrampolineRegistration> registration(&ReadOneKind);
  registration.reset();
  EXPECT_THAT(RoundTrip(&ReadOneKind), kIsRefused);
}

TEST(TrampolineTest, IsThereUntilTheLastImageIsGone) {
  std::optional<TrampolineRegistration> one(&ReadOneKind);
  std::optional<TrampolineRegistration> another(&ReadOneKind);
  one.reset();
  EXPECT_THAT(RoundTrip(&ReadOneKind), IsOkAndHolds(&ReadOneKind));
  another.reset();
  EXPECT_THAT(RoundTrip(&ReadOneKind), kIsRefused);
}

TEST(TrampolineTest, NoFunctionIsAnErrorOfTheSender) {
  Encoder encoder;
  WriteTrampoline(nullptr, encoder);
  EXPECT_THAT(std::move(encoder).Finish(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(TrampolineTest, CutShortIsDataLoss) {
  const TrampolineRegistration one(&ReadOneKind);
  Encoder encoder;
  WriteTrampoline(&ReadOneKind, encoder);
  const Parcel parcel = *std::move(encoder).Finish();
  for (size_t size = 0; size < parcel.bytes.size(); ++size) {
    Decoder decoder(Parcel{parcel.bytes.substr(0, size), {}});
    EXPECT_THAT(ReadTrampoline(decoder), StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
}

}  // namespace
}  // namespace mp::internal
