#ifndef MP_PROCESS_INTERNAL_CRASH_STACK_H_
#define MP_PROCESS_INTERNAL_CRASH_STACK_H_

#include <signal.h>

#include "mp/process/internal/crash_slot.h"

namespace mp::internal {

// In the handler of a crash: writes where it was and the calls that led there,
// innermost first, a line each, until the slot is full:
//
//   at address 0x8, in thread 4711 "reader"
//   #0 Parse() [program+0x12f4]
//   #1 main [program+0x1344]
//
// The offsets are those that addr2line(1) takes.
//
// Async-signal-safe as far as absl::Symbolize() and the unwinder are: since
// glibc 2.35 that one takes no lock.
void WriteCrashStack(CrashSlot& slot, const siginfo_t& info, void* context);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_CRASH_STACK_H_
