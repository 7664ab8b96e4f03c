#ifndef MP_PROCESS_SERIALIZER_H_
#define MP_PROCESS_SERIALIZER_H_

#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/fields.h"
#include "mp/process/internal/serialize_absl.h"
#include "mp/process/internal/serialize_code.h"
#include "mp/process/internal/serialize_fd.h"
#include "mp/process/internal/serialize_std.h"
#include "mp/process/travel.h"

// Which types travel to another process, as an argument or in a message:
//
//   - bool, integers, floating point, std::byte, enums (which should have a
//     fixed underlying type, as forged bytes can make any value of that)
//   - std::basic_string, std::filesystem::path, absl::Cord
//   - std and Abseil containers: anything with push_back() or insert(), and
//     std::array
//   - std::pair, tuple, optional, variant and monostate; absl's optional and
//     variant
//   - absl::Time and Duration, std::chrono's time_point and duration
//   - absl::Status, with its payloads, and absl::StatusOr
//   - pointers to functions and to non-virtual member functions, in a library
//     that the receiver has loaded; lambdas without captures
//   - structs that declare MP_FIELDS, and what mp::Bind() returns
//   - mp's own shareable objects, such as Connection
//   - mp::Fd, an open descriptor
//   - protobuf messages, with //mp/process:proto_serializer
//   - any type with a Serializer of its own: see travel.h
//
// Pointers, references, views and callables with captures do not compile. A
// class derived from a container would travel as that container alone: give it
// a member instead, and MP_FIELDS.

#endif  // MP_PROCESS_SERIALIZER_H_
