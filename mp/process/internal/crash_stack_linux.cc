#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/debugging/symbolize.h"
#include "absl/strings/string_view.h"
#include "mp/process/internal/crash_slot.h"
#include "mp/process/internal/crash_stack.h"

namespace mp::internal {
namespace {

// More calls than have room, and few enough to be found at once.
constexpr int kMaxFrames = 64;

// A line that is put together without malloc().
class Line {
 public:
  Line& Text(absl::string_view text) {
    for (const char c : text) {
      if (size_ < sizeof(bytes_) - 1) bytes_[size_++] = c;
    }
    return *this;
  }
  Line& Number(uint64_t value, unsigned base = 10) {
    char digits[20];
    size_t begin = sizeof(digits);
    do {
      digits[--begin] = "0123456789abcdef"[value % base];
      value /= base;
    } while (value > 0);
    return Text({digits + begin, sizeof(digits) - begin});
  }
  Line& Address(uintptr_t value) { return Text("0x").Number(value, 16); }

  // Adds the new line for which there is always room.
  absl::string_view Finish() {
    bytes_[size_++] = '\n';
    return {bytes_, size_};
  }

 private:
  char bytes_[320];
  size_t size_ = 0;
};

// Whether the kernel sent the signal because of what this thread did.
bool IsFault(const siginfo_t& info) { return info.si_code > 0; }

void WriteCause(CrashSlot& slot, const siginfo_t& info) {
  Line line;
  if (IsFault(info)) {
    line.Text("at address ")
        .Address(reinterpret_cast<uintptr_t>(info.si_addr))
        .Text(", ");
  } else if (info.si_pid != getpid()) {
    line.Text("sent by process ").Number(info.si_pid).Text(", ");
  }
  const pid_t thread = static_cast<pid_t>(syscall(SYS_gettid));
  if (thread == getpid()) {
    line.Text("in the main thread");
  } else {
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    line.Text("in thread ").Number(thread).Text(" \"").Text(name).Text("\"");
  }
  slot.stack.Append(line.Finish());
}

// Adds "[libfoo.so+0x1234]".
void AddImage(uintptr_t pc, Line& line) {
#if __GLIBC_PREREQ(2, 35)
  dl_find_object found;
  if (_dl_find_object(reinterpret_cast<void*>(pc), &found) == 0) {
    const link_map& image = *found.dlfo_link_map;
    const bool is_program = image.l_name == nullptr || image.l_name[0] == '\0';
    absl::string_view name =
        is_program ? program_invocation_short_name : image.l_name;
    name.remove_prefix(name.rfind('/') + 1);  // npos + 1 is 0
    line.Text(" [").Text(name).Text("+").Address(pc - image.l_addr).Text("]");
    return;
  }
#endif
  line.Text(" [").Address(pc).Text("]");
}

#if defined(__x86_64__)
auto& Pc(ucontext_t& context) { return context.uc_mcontext.gregs[REG_RIP]; }
#elif defined(__aarch64__)
auto& Pc(ucontext_t& context) { return context.uc_mcontext.pc; }
#endif

// Makes the context that of the caller, after a call of something that is no
// code: nothing is known of where that is, so the unwinder would stop there.
__attribute__((no_sanitize("address", "thread", "undefined"))) void
StepToCaller(ucontext_t& context) {
#if defined(__x86_64__)
  greg_t& stack = context.uc_mcontext.gregs[REG_RSP];
  Pc(context) = *reinterpret_cast<const greg_t*>(stack);
  stack += sizeof(greg_t);
#elif defined(__aarch64__)
  Pc(context) = context.uc_mcontext.regs[30];
#endif
}

class StackWriter {
 public:
  explicit StackWriter(CrashSlot& slot) : slot_(slot) {}

  // Returns whether there is room for more.
  bool WriteFrame(uintptr_t pc) {
    char symbol[200];
    Line line;
    line.Text("#").Number(frames_++).Text(" ");
    const bool known =
        absl::Symbolize(reinterpret_cast<void*>(pc), symbol, sizeof(symbol));
    line.Text(known ? symbol : "?");
    AddImage(pc, line);
    return slot_.stack.Append(line.Finish()) && frames_ < kMaxFrames;
  }

  // Writes the calls that led to `pc`, which is where the signal came. Those
  // that the unwinder finds before are the handler's.
  void WriteCallsAbove(uintptr_t pc) {
    signalled_ = pc;
    _Unwind_Backtrace(&StackWriter::Visit, this);
  }

 private:
  static _Unwind_Reason_Code Visit(_Unwind_Context* context, void* data) {
    return static_cast<StackWriter*>(data)->Visit(context);
  }

  _Unwind_Reason_Code Visit(_Unwind_Context* context) {
    int is_exact = 0;
    const uintptr_t pc = _Unwind_GetIPInfo(context, &is_exact);
    if (pc == 0) return _URC_END_OF_STACK;
    if (!begun_) {
      begun_ = pc == signalled_;
      return _URC_NO_REASON;
    }
    // A return address may be that of the next function already.
    return WriteFrame(is_exact != 0 ? pc : pc - 1) ? _URC_NO_REASON
                                                   : _URC_END_OF_STACK;
  }

  CrashSlot& slot_;
  uintptr_t signalled_ = 0;
  bool begun_ = false;
  int frames_ = 0;
};

}  // namespace

void WriteCrashStack(CrashSlot& slot, const siginfo_t& info, void* context) {
  WriteCause(slot, info);
#if defined(__x86_64__) || defined(__aarch64__)
  auto& registers = *static_cast<ucontext_t*>(context);
  const ucontext_t before = registers;
  StackWriter writer(slot);
  const uintptr_t pc = Pc(registers);
  writer.WriteFrame(pc);
  if (IsFault(info) && pc == reinterpret_cast<uintptr_t>(info.si_addr)) {
    StepToCaller(registers);
    writer.WriteFrame(Pc(registers) - 1);
  }
  writer.WriteCallsAbove(Pc(registers));
  registers = before;  // for whoever reads the core
#else
  static_cast<void>(context);
#endif
}

}  // namespace mp::internal
