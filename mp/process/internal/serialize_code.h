#ifndef MP_PROCESS_INTERNAL_SERIALIZE_CODE_H_
#define MP_PROCESS_INTERNAL_SERIALIZE_CODE_H_

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"

namespace mp {
namespace internal {

// Writes the address of a function as an image's build-id and an offset in it.
void WriteCode(const void* address, Encoder& encoder);

// Reads one. It points into executable code of the very same image.
absl::StatusOr<const void*> ReadCode(Decoder& decoder);

// A pointer to a member function as the C++ ABI of Linux has it: the address of
// the function, or 1 plus its place in the virtual table, and what to add to
// the object's address. (Itanium C++ ABI, 2.3.)
struct MemberFunctionBits {
  const void* function;
  ptrdiff_t adjustment;
};
void WriteMemberFunction(const MemberFunctionBits& bits, Encoder& encoder);
absl::StatusOr<MemberFunctionBits> ReadMemberFunction(Decoder& decoder);

}  // namespace internal

template <typename T>
requires(std::is_pointer_v<T>&& std::is_function_v<
         std::remove_pointer_t<T>>) struct Serializer<T> {
  static void Encode(T function, Encoder& encoder) {
    internal::WriteCode(reinterpret_cast<const void*>(function), encoder);
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const void* const address, internal::ReadCode(decoder));
    return reinterpret_cast<T>(const_cast<void*>(address));
  }
};

template <typename T>
requires std::is_member_function_pointer_v<T>
struct Serializer<T> {
  static_assert(sizeof(T) == sizeof(internal::MemberFunctionBits));
  static void Encode(T member, Encoder& encoder) {
    internal::MemberFunctionBits bits;
    std::memcpy(&bits, &member, sizeof(bits));
    internal::WriteMemberFunction(bits, encoder);
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const internal::MemberFunctionBits bits,
                        internal::ReadMemberFunction(decoder));
    T member;
    std::memcpy(&member, &bits, sizeof(member));
    return member;
  }
};

}  // namespace mp

#endif  // MP_PROCESS_INTERNAL_SERIALIZE_CODE_H_
