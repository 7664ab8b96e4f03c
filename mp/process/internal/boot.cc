#include "mp/process/internal/boot.h"

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/frame.h"
#include "mp/base/memfd.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/process/auth_key.h"
#include "mp/process/context.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/apply_surroundings.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/crash_handler.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/resolve_surroundings.h"
#include "mp/process/internal/runner.h"
#include "mp/process/log.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"

namespace mp::internal {
namespace {

// The smallest socket buffer takes this much at once.
constexpr size_t kMaxInlineBytes = 32 << 10;
constexpr uint64_t kNoLimit = UINT64_MAX;

// What both ends have to agree on before anything else can be read.
const std::string& FormatName() {
  constexpr int kVersion = 2;
  static const std::string& name = *new std::string(absl::StrCat(
      "mp-boot ", kVersion, ", ", 8 * sizeof(void*), "-bit",
#ifdef NDEBUG
      ", NDEBUG",
#endif
      kAddressSanitizer ? ", asan" : "", kThreadSanitizer ? ", tsan" : ""));
  return name;
}

// Once, and not in each child of a fork server.
[[maybe_unused]] const bool made_early = (FormatName(), true);

absl::Status CheckFormat(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const absl::string_view format, decoder.ReadString());
  if (format == FormatName()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the starter of this process speaks \"", format,
                   "\", this program \"", FormatName(), "\""));
}

void WriteIdentity(const Identity& identity, Encoder& encoder) {
  encoder.WriteString(identity.name);
  encoder.WriteString(identity.path);
  encoder.Write(identity.daemon);
  encoder.Write(identity.started_by);
  // A key travels in this way only.
  encoder.WriteString(identity.authkey.value_or(AuthKey()).bytes());
}

absl::StatusOr<Identity> ReadIdentity(Decoder& decoder) {
  Identity identity;
  MP_ASSIGN_OR_RETURN(identity.name, decoder.Read<std::string>());
  MP_ASSIGN_OR_RETURN(identity.path, decoder.Read<std::string>());
  MP_ASSIGN_OR_RETURN(identity.daemon, decoder.Read<bool>());
  MP_ASSIGN_OR_RETURN(identity.started_by,
                      decoder.Read<std::optional<StartMethod>>());
  MP_ASSIGN_OR_RETURN(const absl::string_view key, decoder.ReadString());
  identity.authkey = AuthKey::FromBytes(key);
  return identity;
}

void WriteCrashSlot(const CrashSlotTicket& ticket, Encoder& encoder) {
  encoder.WriteHandle(ticket.memory.get());
  encoder.Write(ticket.offset);
}

absl::StatusOr<CrashSlotTicket> ReadCrashSlot(Decoder& decoder) {
  CrashSlotTicket ticket;
  MP_ASSIGN_OR_RETURN(ticket.memory, decoder.ReadHandle());
  MP_ASSIGN_OR_RETURN(ticket.offset, decoder.Read<uint64_t>());
  return ticket;
}

absl::StatusOr<Parcel> ReceiveBoot(int socket) {
  FrameReader reader;
  MP_ASSIGN_OR_RETURN(
      FrameReader::Frame frame,
      reader.Read(socket, kNoLimit, Deadline(absl::InfiniteDuration())));
  return Parcel{std::move(frame.bytes), std::move(frame.fds)};
}

absl::StatusOr<Parcel> UnpackBoot(Parcel packed) {
  Decoder envelope(Parcel{std::move(packed.bytes), {}});
  MP_ASSIGN_OR_RETURN(const bool is_inline, envelope.Read<bool>());
  if (is_inline) {
    MP_ASSIGN_OR_RETURN(auto bytes, envelope.Read<std::string>());
    return Parcel{std::move(bytes), std::move(packed.handles)};
  }
  if (packed.handles.empty())
    return absl::DataLossError("the memfd is missing");
  const Fd memfd = std::move(packed.handles.back());
  packed.handles.pop_back();
  MP_ASSIGN_OR_RETURN(std::string bytes, ReadSealedMemfd(memfd, kNoLimit));
  return Parcel{std::move(bytes), std::move(packed.handles)};
}

// Becomes what the message says and returns the call to make.
absl::StatusOr<std::unique_ptr<Call>> Boot(Parcel packed,
                                           const ChildSetup& setup) {
  MP_ASSIGN_OR_RETURN(Parcel parcel, UnpackBoot(std::move(packed)));
  Decoder decoder(std::move(parcel));
  MP_RETURN_IF_ERROR(CheckFormat(decoder));
  MP_ASSIGN_OR_RETURN(Identity identity, ReadIdentity(decoder));
  const bool by_fork_server = identity.started_by == StartMethod::kForkServer;
  BecomeProcess(std::move(identity));
  MP_ASSIGN_OR_RETURN(CrashSlotTicket crash_slot, ReadCrashSlot(decoder));
  MP_RETURN_IF_ERROR(AttachCrashSlot(std::move(crash_slot)));
  MP_ASSIGN_OR_RETURN(const LogSettings log, decoder.Read<LogSettings>());
  GetLogger().Apply(log);
  MP_ASSIGN_OR_RETURN(ParentLink parent, ReadParentLink(decoder));
  AttachToParent(std::move(parent));
  // The fork server has done so for its children.
  if (!by_fork_server) DetachStdin();
  MP_ASSIGN_OR_RETURN(ResolvedSurroundings surroundings,
                      ReadSurroundings(decoder));
  MP_RETURN_IF_ERROR(ApplySurroundings(std::move(surroundings)));
  // It leaves no word in the crash slot, which may be another's by now.
  if (by_fork_server && !StarterLetsBegin(CurrentParent()->pidfd)) {
    _exit(kExitCodeNotRun);
  }
  if (setup.run) {
    MP_RETURN_IF_ERROR(RunCatching([&] {
      setup.run(setup.argc, setup.argv);
      return absl::OkStatus();
    }));
  }
  return ReadCallCatching(decoder);
}

// Returns the exit code of a child that cannot begin.
int EndUnrun(const absl::Status& status) {
  // Whoever started this is gone or gave it up.
  if (absl::IsOutOfRange(status)) return kExitCodeNotRun;
  const std::string problem = absl::StrCat("cannot begin: ", status.ToString());
  NoteFailure(problem);
  Complain(problem);
  return kExitCodeNotRun;
}

}  // namespace

absl::StatusOr<Parcel> EncodeBoot(const BootMessage& message,
                                  const Call& call) {
  Encoder encoder(Encoder::Receiver::kNewProcess);
  encoder.WriteString(FormatName());
  WriteIdentity(message.identity, encoder);
  WriteCrashSlot(message.crash_slot, encoder);
  encoder.Write(GetLogger().settings());
  WriteParentLink(message.parent, encoder);
  WriteSurroundings(message.surroundings, encoder);
  call.Encode(encoder);
  return std::move(encoder).Finish();
}

absl::StatusOr<Parcel> PackBoot(Parcel parcel) {
  const bool is_inline = parcel.bytes.size() <= kMaxInlineBytes;
  Encoder envelope;
  envelope.Write(is_inline);
  if (is_inline) {
    envelope.Write(parcel.bytes);
  } else {
    MP_ASSIGN_OR_RETURN(Fd memfd, CreateSealedMemfd("mp-boot", parcel.bytes));
    parcel.handles.push_back(std::move(memfd));
  }
  // Each byte carries so many descriptors; see frame.h.
  envelope.WriteString(
      std::string(parcel.handles.size() / kMaxFdsPerByte, '\0'));
  MP_ASSIGN_OR_RETURN(Parcel packed, std::move(envelope).Finish());
  packed.handles = std::move(parcel.handles);
  return packed;
}

absl::Status SendBoot(int socket, Parcel parcel) {
  MP_ASSIGN_OR_RETURN(const Parcel packed, PackBoot(std::move(parcel)));
  std::vector<int> fds;
  for (const Fd& fd : packed.handles) fds.push_back(fd.get());
  bool cut;
  return WriteFrame(socket, packed.bytes, fds,
                    Deadline(absl::InfiniteDuration()), &cut);
}

int RunBootedChild(Fd socket, const ChildSetup& setup) {
  absl::StatusOr<Parcel> packed = ReceiveBoot(socket.get());
  socket.Close();
  return packed.ok() ? RunPackedChild(*std::move(packed), setup)
                     : EndUnrun(packed.status());
}

int RunPackedChild(Parcel packed, const ChildSetup& setup) {
  const absl::StatusOr<std::unique_ptr<Call>> call =
      Boot(std::move(packed), setup);
  return call.ok() ? RunCall(**call) : EndUnrun(call.status());
}

}  // namespace mp::internal
