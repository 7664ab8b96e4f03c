#include "mp/process/internal/runner.h"

#include <cxxabi.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <typeinfo>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mp/base/io.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/identity.h"

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

int RunCall(Call& call) {
  try {
    const absl::Status status = call.Run();
    if (status.ok()) return 0;
    Complain(status.ToString());
  } catch (const ExitThread& exit) {
    return exit.code;
  } catch (const std::exception& e) {
    Complain(absl::StrCat("uncaught ", ExceptionName(), ": ", e.what()));
  } catch (const abi::__forced_unwind&) {
    throw;  // pthread_exit() has to go on
  } catch (...) {
    Complain(absl::StrCat("uncaught ", ExceptionName()));
  }
  return kExitCodeFailed;
}

void FlushStdio() {
  std::cout.flush();
  std::cerr.flush();
  std::clog.flush();
  std::fflush(nullptr);
}

void DetachStdin() {
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0) return;
  dup2(null, STDIN_FILENO);
  if (null != STDIN_FILENO) close(null);
}

}  // namespace mp::internal
