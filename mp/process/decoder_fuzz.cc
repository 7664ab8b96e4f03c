// Reads values out of bytes that anybody may have made up.
//
// An input is a byte for the type of the value, one for the number of
// descriptors, and the bytes of the parcel. In these "@" and a letter stand for
// what differs from build to build, and so cannot be in a file: the name of the
// program's image, and of its code; see Names().
//
// What can be read can be sent on, and read again.

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/container/node_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "absl/types/variant.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/bind.h"
#include "mp/process/internal/call.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"

namespace mp {

namespace {

enum class Colour : int16_t { kRed, kGreen };

struct Job {
  std::string path;
  char name[4] = {};
  std::string table[2][2];
  MP_FIELDS(path, name, table)
};

struct Tree {
  std::variant<std::monostate, bool, std::string> value;
  std::vector<Tree> children;
  std::map<std::string, std::optional<Tree>> named;
  MP_FIELDS(value, children, named)
};

struct Counter {
  int count = 0;
  int Plus(int n) const { return count + n; }
  MP_FIELDS(count)
};

int Add(int a, int b) { return a + b; }
void Print(const std::string& text) { std::puts(text.c_str()); }
inline constexpr auto kLambda = [](int a) { return a; };

using BoundAdd = decltype(Bind(Add, 1));
using BoundPlus = decltype(Bind(&Counter::Plus, Counter()));

[[noreturn]] void Die(absl::string_view complaint) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(complaint.size()),
               complaint.data());
  std::abort();
}

// The bytes with which a value starts that starts with code.
template <typename Write>
std::string CodeIn(Write write) {
  Encoder encoder;
  write(encoder);
  absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
  MP_CHECK_OK(parcel);
  const std::string bytes = parcel->bytes;
  Decoder decoder(*std::move(parcel));
  MP_CHECK_OK(decoder.ReadString());
  MP_CHECK_OK(decoder.ReadNumber());
  return bytes.substr(0, bytes.size() - decoder.bytes_left());
}

template <typename F, typename... Args>
std::string CallOf(F function, Args... args) {
  return CodeIn([&](Encoder& encoder) {
    internal::MakeTravellingCall(function, args...)->Encode(encoder);
  });
}

const std::map<char, std::string>& Names() {
  static const auto& names = *new std::map<char, std::string>([] {
    const std::string add =
        CodeIn([](Encoder& encoder) { encoder.Write(&Add); });
    Encoder image;
    image.WriteString(*Decoder(Parcel{add, {}}).ReadString());
    return std::map<char, std::string>{
        // The image; an offset in it should follow.
        {'i', std::move(image).Finish()->bytes},
        // Functions.
        {'a', add},
        {'p', CodeIn([](Encoder& encoder) { encoder.Write(&Print); })},
        {'m', CodeIn([](Encoder& encoder) { encoder.Write(&Counter::Plus); })},
        // The kinds of call.
        {'A', CallOf(Add, 1, 2)},
        {'P', CallOf(Print, "text")},
        {'M', CallOf(&Counter::Plus, Counter(), 1)},
        {'L', CallOf(kLambda, 1)},
        {'B', CallOf(Bind(Add, 1), 2)},
    };
  }());
  return names;
}

std::string Expand(absl::string_view bytes) {
  std::string expanded;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto name = bytes[i] == '@' && i + 1 < bytes.size()
                          ? Names().find(bytes[i + 1])
                          : Names().end();
    if (name == Names().end()) {
      expanded += bytes[i];
    } else {
      expanded += name->second;
      ++i;
    }
  }
  return expanded;
}

void CheckRefusal(const absl::Status& status) {
  // The latter if it is about another image.
  if (absl::IsDataLoss(status) || absl::IsFailedPrecondition(status)) return;
  Die(absl::StrCat("refused, but with ", status.ToString()));
}

template <typename T>
const T& ValueOf(const absl::StatusOr<T>& result) {
  return *result;
}
absl::Status ValueOf(const absl::StatusOr<StatusValue>& result) {
  return result->status;
}

// Returns the parcel of a value of type T that is in this one, if there is.
template <typename T>
std::optional<Parcel> SendOn(Parcel parcel) {
  Decoder decoder(std::move(parcel));
  const ReadResult<T> value = decoder.Read<T>();
  if (!value.ok()) {
    CheckRefusal(value.status());
    return std::nullopt;
  }
  Encoder encoder;
  encoder.Write<T>(ValueOf(value));
  absl::StatusOr<Parcel> next = std::move(encoder).Finish();
  MP_CHECK_OK(next);
  return *std::move(next);
}

template <>
std::optional<Parcel> SendOn<internal::Call>(Parcel parcel) {
  Decoder decoder(std::move(parcel));
  const absl::StatusOr<std::unique_ptr<internal::Call>> call =
      internal::ReadCall(decoder);
  if (!call.ok()) {
    CheckRefusal(call.status());
    return std::nullopt;
  }
  Encoder encoder;
  (*call)->Encode(encoder);
  absl::StatusOr<Parcel> next = std::move(encoder).Finish();
  MP_CHECK_OK(next);
  return *std::move(next);
}

template <typename T>
void Try(Parcel parcel) {
  std::optional<Parcel> first = SendOn<T>(std::move(parcel));
  if (!first.has_value()) return;
  const size_t size = first->bytes.size();
  const std::optional<Parcel> second = SendOn<T>(*std::move(first));
  if (!second.has_value()) Die("what was sent on cannot be read");
  // Not the same bytes: hashed containers change the order.
  if (second->bytes.size() != size) Die("what was sent on has changed");
}

// New types at the end, so that inputs keep their meaning.
constexpr void (*kTypes[])(Parcel) = {
    Try<bool>,
    Try<int>,
    Try<long double>,
    Try<Colour>,
    Try<std::string>,
    Try<std::u16string>,
    Try<std::vector<int64_t>>,
    Try<std::vector<std::string>>,
    Try<std::vector<bool>>,
    Try<std::list<std::deque<std::byte>>>,
    Try<std::map<std::string, std::vector<std::optional<std::string>>>>,
    Try<std::unordered_multimap<int, std::string>>,
    Try<absl::flat_hash_map<std::string, int>>,
    Try<absl::node_hash_set<std::string>>,
    Try<absl::btree_multiset<int>>,
    Try<absl::InlinedVector<std::monostate, 2>>,
    Try<std::set<std::pair<int, std::string>>>,
    Try<std::array<std::string, 3>>,
    Try<std::tuple<bool, std::string, std::vector<uint16_t>>>,
    Try<std::optional<std::optional<int>>>,
    Try<absl::optional<std::string>>,
    Try<std::variant<std::monostate, int, std::string, std::vector<int>>>,
    Try<absl::variant<absl::monostate, int, std::string>>,
    Try<absl::Duration>,
    Try<absl::Time>,
    Try<std::chrono::system_clock::time_point>,
    Try<std::chrono::duration<double>>,
    Try<std::filesystem::path>,
    Try<absl::Cord>,
    Try<absl::Status>,
    Try<absl::StatusOr<absl::StatusOr<std::string>>>,
    Try<std::vector<std::pair<absl::Status, int>>>,
    Try<Job>,
    Try<Tree>,
    Try<decltype(&Add)>,
    Try<std::vector<decltype(&Print)>>,
    Try<decltype(&Counter::Plus)>,
    Try<std::remove_const_t<decltype(kLambda)>>,
    Try<BoundAdd>,
    Try<BoundPlus>,
    Try<internal::Call>,
    Try<Fd>,
    Try<std::vector<std::pair<std::string, Fd>>>,
    Try<std::optional<std::variant<Fd, std::array<Fd, 2>>>>,
};

Fd OpenNull() { return Fd(open("/dev/null", O_RDWR | O_CLOEXEC)); }

}  // namespace
}  // namespace mp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto type = mp::kTypes[data[0] % std::size(mp::kTypes)];
  mp::Parcel parcel = {
      mp::Expand({reinterpret_cast<const char*>(data) + 2, size - 2}), {}};
  const int handles = data[1] % 4;
  // The lowest number that is free, if none is left open.
  const int lowest = handles > 0 ? mp::OpenNull().get() : -1;
  for (int i = 0; i < handles; ++i) parcel.handles.push_back(mp::OpenNull());
  type(std::move(parcel));
  if (handles > 0 && mp::OpenNull().get() != lowest) {
    mp::Die("a descriptor is still open");
  }
  return 0;
}
