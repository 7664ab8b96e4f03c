#include "mp/process/internal/runner.h"

#include <cxxabi.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <typeinfo>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/io.h"
#include "mp/process/decoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/identity.h"
#include "mp/process/parcel.h"

namespace mp::internal {
namespace {

// Returns the name of the exception being handled.
std::string ExceptionName() {
  const std::type_info* const type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "a foreign exception";
  int error;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type->name(), nullptr, nullptr, &error), &std::free);
  return error == 0 ? name.get() : type->name();
}

}  // namespace

void Complain(const std::string& message) {
  const std::string line =
      absl::StrCat(CurrentIdentity().name, ": ", message, "\n");
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
  try {
    const absl::Status status = RunCatching([&] { return call.Run(); });
    if (status.ok()) return 0;
    Complain(status.ToString());
    return kExitCodeFailed;
  } catch (const ExitThread& exit) {
    return exit.code;
  }
}

int RunParcel(Parcel parcel) {
  Decoder decoder(std::move(parcel));
  const absl::StatusOr<std::unique_ptr<Call>> call = ReadCall(decoder);
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
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0) return;
  dup2(null, STDIN_FILENO);
  if (null != STDIN_FILENO) close(null);
}

}  // namespace mp::internal
