#ifndef MP_PROCESS_CONTEXT_H_
#define MP_PROCESS_CONTEXT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mp {

// How a process comes into being.
enum class StartMethod {
  // A fork of a server, which is this program, started afresh for the first
  // such process and stopped in mp::Init(): it has one thread and little
  // memory, so this is safe and fast however large the caller is. The server is
  // a child of this process that ends with it: who waits for all children, by
  // while (wait(nullptr) > 0), waits for ever.
  kForkServer,
  // fork(2) of the caller: the child has a copy of all its memory and
  // descriptors, but of its threads only the calling one. Locks that other
  // threads hold stay locked in the child for ever. The callable and its
  // arguments are sent as elsewhere, unless given with ForkContext.
  kFork,
  // This program, executed again. It starts from nothing and runs up to
  // mp::Init().
  kSpawn,
  // No process: a thread of the caller, with the interface of a process.
  // CPython calls it multiprocessing.dummy.
  kThread,
};

// Returns "forkserver", "fork", "spawn" or "thread".
absl::string_view StartMethodName(StartMethod method);

// A choice of start method, which factories take as Options.context.
//
// Example:
//   MP_ASSIGN_OR_RETURN(mp::Context spawn, mp::GetContext("spawn"));
//   mp::Process p({.context = spawn}, Work, 42);
//
// Threads: a value.
// Source:  CPython multiprocessing, "Contexts and start methods". Differs:
//          threads are a start method, not a module of their own.
class Context {
 public:
  // The default: see GetStartMethod().
  Context() = default;

  Context(StartMethod method) : method_(method) {}  // NOLINT: a plain wrapper

  // Returns the method that a process started now would have.
  StartMethod start_method() const;

 private:
  std::optional<StartMethod> method_;
};

// In place of options: the callable is not sent anywhere but inherited by
// fork(2), so that it may capture what it likes, by reference too.
//
// Example:
//   mp::Process p(mp::ForkContext(), [&] { Summarise(huge_table); });
struct ForkContext {};

// Returns the context with that name.
//
// Errors:
//   kInvalidArgument  there is no such start method.
// Source: CPython multiprocessing.get_context().
absl::StatusOr<Context> GetContext(absl::string_view name);

// Chooses the default start method of this process, once.
//
// Errors:
//   kInvalidArgument     there is no such start method.
//   kFailedPrecondition  it has been chosen before, and not `force`.
// Source: CPython multiprocessing.set_start_method(). Differs: using the
// default does not fix it.
absl::Status SetStartMethod(absl::string_view name, bool force = false);

// Takes the choice back.
//
// Source: CPython multiprocessing.set_start_method(None, force=True).
void ResetStartMethod();

// Returns the name of the default start method: the one that SetStartMethod()
// chose; otherwise that by which this process was itself started; otherwise
// forkserver. A thread that stands for a process has thread. With `allow_none`
// it is "" if nobody has chosen.
//
// Source: CPython multiprocessing.get_start_method(). Differs: asking does not
// fix it.
absl::string_view GetStartMethod(bool allow_none = false);

// Returns the names of all start methods, the default first.
//
// Source: CPython multiprocessing.get_all_start_methods().
std::vector<std::string> GetAllStartMethods();

namespace internal {

// In a process, or a thread that stands for one, which is to start others as it
// was started itself.
void SetProcessStartMethod(StartMethod method);
void SetThreadStartMethod(StartMethod method);

}  // namespace internal
}  // namespace mp

#endif  // MP_PROCESS_CONTEXT_H_
