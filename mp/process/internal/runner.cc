#include "mp/process/internal/runner.h"

#include <cxxabi.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/io.h"
#include "mp/process/context.h"
#include "mp/process/decoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/crash_handler.h"
#include "mp/process/internal/exception_name.h"
#include "mp/process/internal/identity.h"
#include "mp/process/log.h"
#include "mp/process/parcel.h"

namespace mp::internal {
void Complain(const std::string& message) {
  const std::string line =
      absl::StrCat(CurrentProcessName(), ": ", message, "\n");
  WriteAll(STDERR_FILENO, line).IgnoreError();  // there is nobody else to tell
}

absl::Status RunCatching(absl::FunctionRef<absl::Status()> body) {
  try {
    return body();
  } catch (const ExitThread&) {
    throw;  // mp::Exit() has to go on
  } catch (const abi::__forced_unwind&) {
    throw;  // and pthread_exit()
  } catch (const std::exception& e) {
    return absl::UnknownError(
        absl::StrCat("uncaught ", ExceptionName(), ": ", e.what()));
  } catch (...) {
    return absl::UnknownError(absl::StrCat("uncaught ", ExceptionName()));
  }
}

int RunCall(Call& call) {
  GetLogger().Log(LogLevel::kInfo, "process calls its function");
  try {
    const absl::Status status = RunCatching([&] { return call.Run(); });
    if (status.ok()) return 0;
    if (CurrentIdentity().started_by != StartMethod::kThread) {
      NoteFailure(status.ToString());
    }
    Complain(status.ToString());
    return kExitCodeFailed;
  } catch (const ExitThread& exit) {
    return exit.code;
  }
}

absl::StatusOr<std::unique_ptr<Call>> ReadCallCatching(Decoder& decoder) {
  absl::StatusOr<std::unique_ptr<Call>> call;
  const absl::Status status = RunCatching([&] {
    call = ReadCall(decoder);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return call;
}

int RunParcel(Parcel parcel) {
  Decoder decoder(std::move(parcel));
  const absl::StatusOr<std::unique_ptr<Call>> call = ReadCallCatching(decoder);
  if (call.ok()) return RunCall(**call);
  Complain(absl::StrCat("cannot begin: ", call.status().ToString()));
  return kExitCodeNotRun;
}

void FlushStdio() {
  std::cout.flush();
  std::cerr.flush();
  std::clog.flush();
  std::fflush(nullptr);
}

void UnblockSignals() {
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

void FillStdio() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest that is free is this one.
    static_cast<void>(
        open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY));
  }
}

void DetachStdin() {
  const int null = open("/dev/null", O_RDONLY);
  if (null < 0 || null == STDIN_FILENO) return;
  dup2(null, STDIN_FILENO);
  close(null);
}

}  // namespace mp::internal
