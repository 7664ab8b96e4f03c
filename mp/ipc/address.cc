#include "mp/ipc/address.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "mp/base/status_macros.h"

namespace mp {
namespace {

constexpr absl::string_view kUnixPrefix = "unix:";

// The longest name of a host (RFC 1035).
constexpr size_t kMaxHostBytes = 255;

absl::Status Invalid(absl::string_view text, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(
      "Address \"", absl::Utf8SafeCHexEscape(text), "\": ", problem));
}

absl::Status CheckLength(absl::string_view text, absl::string_view what) {
  if (text.empty()) return Invalid(text, absl::StrCat(what, " is empty"));
  if (text.size() > Address::kMaxPathBytes) {
    return Invalid(
        text, absl::StrCat(what, " is ", text.size(), " bytes, the limit is ",
                           Address::kMaxPathBytes));
  }
  return absl::OkStatus();
}

// Splits "host:port" or "[host]:port".
absl::StatusOr<Address> ParseTcp(absl::string_view text) {
  const size_t colon = text.rfind(':');
  absl::string_view host = text.substr(0, colon);
  const absl::string_view digits = text.substr(colon + 1);
  uint32_t port = 0;
  // SimpleAtoi() takes spaces and signs too.
  if (digits.empty() || !absl::ascii_isdigit(digits[0]) ||
      !absl::SimpleAtoi(digits, &port) || port > UINT16_MAX) {
    return Invalid(text, "the port is no number from 0 to 65535");
  }
  if (absl::ConsumePrefix(&host, "[")) {
    if (!absl::ConsumeSuffix(&host, "]")) {
      return Invalid(text, "there is a '[' without its ']'");
    }
  } else if (absl::StrContains(host, ':')) {
    return Invalid(text, absl::StrCat("an IPv6 host needs brackets: [", host,
                                      "]:", digits));
  }
  return Address::Tcp(host, port);
}

absl::StatusOr<Address> ParseAbstract(absl::string_view escaped) {
  std::string name;
  std::string error;
  if (!absl::CUnescape(escaped, &name, &error)) {
    return Invalid(absl::StrCat("@", escaped), error);
  }
  return Address::Abstract(name);
}

}  // namespace

absl::StatusOr<Address> Address::Parse(absl::string_view text) {
  if (absl::StartsWith(text, "/") || absl::StartsWith(text, "./") ||
      absl::StartsWith(text, "../")) {
    return Unix(text);
  }
  if (absl::StartsWith(text, R"(\\)")) {
    return Invalid(text, "named pipes are Windows'; write @name instead");
  }
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, kUnixPrefix)) return Unix(rest);
  if (absl::ConsumePrefix(&rest, "@")) return ParseAbstract(rest);
  if (absl::ConsumePrefix(&rest, absl::string_view("\0", 1))) {
    return Abstract(rest);
  }
  if (absl::StrContains(text, ':')) return ParseTcp(text);
  return Invalid(text,
                 "it is none of /path, ./path, unix:path, @abstract, "
                 "host:port and [::1]:port");
}

absl::StatusOr<Address> Address::Unix(absl::string_view path) {
  MP_RETURN_IF_ERROR(CheckLength(path, "the path"));
  if (absl::StrContains(path, '\0')) {
    return Invalid(path, "the path has a NUL byte");
  }
  return Address(Family::kUnix, std::string(path), 0);
}

absl::StatusOr<Address> Address::Abstract(absl::string_view name) {
  MP_RETURN_IF_ERROR(CheckLength(name, "the name"));
  return Address(Family::kAbstract, std::string(name), 0);
}

absl::StatusOr<Address> Address::Tcp(absl::string_view host, uint16_t port) {
  if (host.empty()) return Invalid(host, "the host is empty");
  if (host.size() > kMaxHostBytes) {
    return Invalid(host, absl::StrCat("the host is ", host.size(),
                                      " bytes, the limit is ", kMaxHostBytes));
  }
  for (const char c : host) {
    if (!absl::ascii_isgraph(c) || absl::StrContains("[]/@", c)) {
      return Invalid(host, "the host has a byte that no host has");
    }
  }
  return Address(Family::kTcp, std::string(host), port);
}

std::string Address::ToString() const {
  switch (family_) {
    case Family::kUnix:
      return absl::StartsWith(name_, "/") || absl::StartsWith(name_, "./") ||
                     absl::StartsWith(name_, "../")
                 ? name_
                 : absl::StrCat(kUnixPrefix, name_);
    case Family::kAbstract:
      if (name_.empty()) return "(no name)";
      return absl::StrCat("@", absl::Utf8SafeCHexEscape(name_));
    case Family::kTcp:
      return absl::StrContains(name_, ':')
                 ? absl::StrCat("[", name_, "]:", port_)
                 : absl::StrCat(name_, ":", port_);
  }
  return "";
}

void Serializer<Address>::Encode(const Address& address, Encoder& encoder) {
  encoder.Write(address.family());
  encoder.Write(address.name());
  encoder.Write(address.port());
}

absl::StatusOr<Address> Serializer<Address>::Decode(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const auto family, decoder.Read<Address::Family>());
  MP_ASSIGN_OR_RETURN(const auto name, decoder.Read<std::string>());
  MP_ASSIGN_OR_RETURN(const auto port, decoder.Read<uint16_t>());
  absl::StatusOr<Address> address =
      absl::InvalidArgumentError("there is no such family");
  switch (family) {
    case Address::Family::kUnix:
      address = Address::Unix(name);
      break;
    case Address::Family::kAbstract:
      address = name.empty() ? Address() : Address::Abstract(name);
      break;
    case Address::Family::kTcp:
      address = Address::Tcp(name, port);
      break;
  }
  if (!address.ok()) {
    return absl::DataLossError(
        absl::StrCat("Decoder: no address: ", address.status().message()));
  }
  return address;
}

}  // namespace mp
