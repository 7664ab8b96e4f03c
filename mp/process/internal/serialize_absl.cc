#include "mp/process/internal/serialize_absl.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/serialize_std.h"

namespace mp {
namespace {

enum class DurationKind : uint8_t {
  kFinite = 0,
  kInfinite = 1,
  kMinusInfinite = 2,
};

// The resolution of absl::Duration. No constant, which might not be there yet
// for the initialisation of another.
absl::Duration Tick() { return absl::Nanoseconds(1) / 4; }
constexpr int64_t kTicksPerSecond = 4'000'000'000;

constexpr int kMaxStatusCode = 16;

// A status looks through all its payloads for each that is added.
constexpr size_t kMaxPayloads = 1000;

}  // namespace

void Serializer<absl::Duration>::Encode(absl::Duration value,
                                        Encoder& encoder) {
  if (value == absl::InfiniteDuration()) {
    return encoder.Write(DurationKind::kInfinite);
  }
  if (value == -absl::InfiniteDuration()) {
    return encoder.Write(DurationKind::kMinusInfinite);
  }
  encoder.Write(DurationKind::kFinite);
  absl::Duration rest;
  encoder.Write<int64_t>(absl::IDivDuration(value, absl::Seconds(1), &rest));
  encoder.Write<int64_t>(absl::IDivDuration(rest, Tick(), &rest));
}

absl::StatusOr<absl::Duration> Serializer<absl::Duration>::Decode(
    Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const auto kind, decoder.Read<DurationKind>());
  if (kind == DurationKind::kInfinite) return absl::InfiniteDuration();
  if (kind == DurationKind::kMinusInfinite) return -absl::InfiniteDuration();
  MP_ASSIGN_OR_RETURN(const auto seconds, decoder.Read<int64_t>());
  MP_ASSIGN_OR_RETURN(const auto ticks, decoder.Read<int64_t>());
  if (kind != DurationKind::kFinite || ticks <= -kTicksPerSecond ||
      ticks >= kTicksPerSecond) {
    return absl::DataLossError("Decoder: the bytes are no absl::Duration");
  }
  return absl::Seconds(seconds) + ticks * Tick();
}

void Serializer<absl::Time>::Encode(absl::Time value, Encoder& encoder) {
  encoder.Write(value - absl::UnixEpoch());
}

absl::StatusOr<absl::Time> Serializer<absl::Time>::Decode(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const auto since, decoder.Read<absl::Duration>());
  return absl::UnixEpoch() + since;
}

void Serializer<absl::Cord>::Encode(const absl::Cord& value, Encoder& encoder) {
  encoder.WriteCount(value.size());
  for (const absl::string_view chunk : value.Chunks()) {
    encoder.WriteRaw(chunk.data(), chunk.size());
  }
}

absl::StatusOr<absl::Cord> Serializer<absl::Cord>::Decode(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const absl::string_view text, decoder.ReadString());
  return absl::Cord(text);
}

void Serializer<absl::Status>::Encode(const absl::Status& value,
                                      Encoder& encoder) {
  encoder.WriteCount(static_cast<uint64_t>(value.code()));
  if (value.ok()) return;
  encoder.WriteString(value.message());
  size_t count = 0;
  value.ForEachPayload([&](absl::string_view, const absl::Cord&) { ++count; });
  if (count > kMaxPayloads) {
    return encoder.Fail(absl::InvalidArgumentError(
        absl::StrCat("Encoder::Write: a status with ", count,
                     " payloads, the limit is ", kMaxPayloads)));
  }
  encoder.WriteCount(count);
  value.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    encoder.WriteString(url);
    encoder.Write(payload);
  });
}

absl::StatusOr<StatusValue> Serializer<absl::Status>::Decode(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const uint64_t code, decoder.ReadNumber());
  if (code == 0) return StatusValue();
  if (code > kMaxStatusCode) {
    return absl::DataLossError(
        absl::StrCat("Decoder: ", code, " is no absl::StatusCode"));
  }
  MP_ASSIGN_OR_RETURN(const absl::string_view message, decoder.ReadString());
  StatusValue value = {
      absl::Status(static_cast<absl::StatusCode>(code), message)};
  MP_ASSIGN_OR_RETURN(size_t count, decoder.ReadCount());
  if (count > kMaxPayloads) {
    return absl::DataLossError(
        absl::StrCat("Decoder: a status with ", count, " payloads"));
  }
  while (count-- > 0) {
    MP_ASSIGN_OR_RETURN(const absl::string_view url, decoder.ReadString());
    MP_ASSIGN_OR_RETURN(absl::Cord payload, decoder.Read<absl::Cord>());
    value.status.SetPayload(url, std::move(payload));
  }
  return value;
}

}  // namespace mp
