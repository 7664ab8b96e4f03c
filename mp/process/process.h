#ifndef MP_PROCESS_PROCESS_H_
#define MP_PROCESS_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/process/auth_key.h"
#include "mp/process/context.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/process_state.h"
#include "mp/process/process_report.h"
#include "mp/process/surroundings.h"

namespace mp {

struct ProcessOptions {
  // How the process is started.
  Context context = {};

  // For people and messages only. Default: "Process-1", and "Process-1:2" for
  // the second one that this one starts; see process_base.h for "Hasher-1".
  std::string name = {};

  // A daemon is terminated when the process that started it exits (and killed
  // if it still runs 5 s later), and killed if that one is killed; it may start
  // no processes itself. Others are waited
  // for at exit, and live on if their parent is killed; see current_process.h.
  // The kill goes by a descriptor: a daemon that closes those that it does not
  // know, or executes another program, undoes it.
  // Default: that of the caller.
  std::optional<bool> daemon = {};

  // With the start method thread: run the callable itself, with the very
  // arguments. Otherwise it gets copies that have been through the serializer,
  // so that a program behaves alike under every start method.
  bool share_arguments = false;

  // Its working directory, environment, stdio, CPUs, limits and so on, where
  // they are not to be the caller's. Not for the start method thread.
  Surroundings surroundings = {};
};

// A function that runs in a process of its own.
//
// Example:
//   void Greet(const std::string& name) { absl::PrintF("hello %s\n", name); }
//
//   int main(int argc, char** argv) {
//     mp::Init(argc, argv);
//     mp::Process p(Greet, "bob");  // an argument takes its parameter's type
//     MP_CHECK_OK(p.Start());
//     MP_CHECK_OK(p.Join());
//     return p.exitcode().value_or(1);
//   }
//
// The function is a function, a member function, a lambda without captures or
// any function object that travels; see serializer.h for the types that do. Its
// result is dropped, but for a status: one that is not OK is printed to stderr
// and makes the exit code 1, as an exception does. mp::Exit(n) chooses the
// exit code.
//
// The process gets the working directory and the environment that the caller
// has at Start(), its stdout and stderr, and /dev/null for stdin. It begins
// with no signal blocked. It inherits no other descriptor, save under fork,
// which inherits all but the Connections that it is not given. User, groups,
// capabilities, resource limits, nice value and CPUs are the caller's at
// Start() too: a fork server that began with others is replaced. Its umask,
// root directory and namespaces are those of the server's start.
//
// Owns:    the arguments until Start(), and the process until it has ended. A
//          Process that goes away before leaves it running: one that is no
//          daemon is waited for when this process exits, a daemon terminated.
// Threads: Join, IsAlive, Terminate, Kill, Interrupt, exitcode and Report are
//          safe from several threads at once; the rest is not.
// Fork:    belongs to the process that made it: elsewhere, and after a move,
//          its methods are kFailedPrecondition.
// Death:   a process that is killed has the exit code -N. One that cannot read
//          its arguments says so on stderr and has the exit code 255.
// Source:  CPython multiprocessing.Process. Differs: errors are statuses.
class Process {
 public:
  using Options = ProcessOptions;

  template <typename F, typename... Args>
  requires(!std::is_same_v<std::decay_t<F>, Options> &&
           !std::is_same_v<std::decay_t<F>, Process> &&
           !std::is_same_v<std::decay_t<F>,
                           ForkContext>) explicit Process(F&& function,
                                                          Args&&... args)
      : Process(Options(), std::forward<F>(function),
                std::forward<Args>(args)...) {}

  template <typename F, typename... Args>
  Process(Options options, F&& function, Args&&... args)
      : Process(std::move(options),
                internal::MakeTravellingCall(std::forward<F>(function),
                                             std::forward<Args>(args)...)) {}

  // By fork only: the callable may have captures, and neither it nor the
  // arguments need to travel.
  template <typename F, typename... Args>
  Process(ForkContext, F&& function, Args&&... args)
      : Process(ForkOptions(),
                internal::MakeCall<internal::InheritedCall>(
                    std::forward<F>(function), std::forward<Args>(args)...)) {}

  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  // Starts it, once. The arguments are sent and then dropped; after an error
  // they are still there and Start() may be tried again.
  //
  // Errors:
  //   kFailedPrecondition  started before; a daemon may not have children,
  //                        except threads; mp::Init() was not called; the
  //                        function lies in a library that the new process will
  //                        not have.
  //   kInvalidArgument     an argument that cannot be sent.
  //   those of Surroundings
  //   kResourceExhausted   no process, memory or descriptor left.
  //   kUnavailable         the fork server died five times in a row.
  absl::Status Start();

  // Waits until it has ended. May be called again.
  //
  // Errors:
  //   kDeadlineExceeded    it still runs.
  //   kFailedPrecondition  not started.
  absl::Status Join(absl::Duration timeout = absl::InfiniteDuration());

  // Whether it was started and has not ended yet.
  bool IsAlive();

  // Sends SIGTERM, SIGKILL, SIGINT. No-ops once it has ended. Its own children
  // are not affected.
  //
  // Errors:
  //   kFailedPrecondition  not started.
  //   kUnimplemented       the start method is thread.
  absl::Status Terminate();
  absl::Status Kill();
  absl::Status Interrupt();

  // Lets go of a process that has ended or was not started. Everything but
  // name(), daemon(), authkey() and ToString() fails from then on. May be
  // called again.
  //
  // Errors:
  //   kFailedPrecondition  it runs: call Join() first.
  absl::Status Close();

  // The process itself has the name that this object has at Start().
  std::string name() const;
  void set_name(std::string name);

  // Errors:
  //   kFailedPrecondition  it has been started.
  bool daemon() const;
  absl::Status set_daemon(bool daemon);

  // What its connections prove themselves with: that of the caller, unless set
  // before Start().
  //
  // Errors:
  //   kFailedPrecondition  it has been started.
  AuthKey authkey() const;
  absl::Status set_authkey(AuthKey key);

  StartMethod start_method() const;

  // Returns the process id, once it is started.
  std::optional<pid_t> pid() const;

  // Returns nullopt while it has not started or not ended; then 0 to 255, or
  // -N if signal N killed it.
  //
  // A wait elsewhere in this program, such as waitpid(-1), may take the exit
  // status, and the kernel keeps none in a program that ignores SIGCHLD. Then
  // this is what the process itself noted as it ended by exit(3), mp::Exit(), a
  // return from its function or one of the signals of a crash; nullopt if it
  // ended otherwise, by _exit(2) or SIGKILL for example. Report() tells.
  std::optional<int> exitcode();

  // Returns how it ended, and why: signal, core, resource usage, whether memory
  // had run out, and the stack of a crash. May be called again.
  //
  // Errors:
  //   kFailedPrecondition  not started, or it still runs: call Join() first.
  absl::StatusOr<ProcessReport> Report();

  // Returns a descriptor, not to be closed, that polls as readable once it has
  // ended.
  //
  // Errors:
  //   kFailedPrecondition  not started.
  absl::StatusOr<int> sentinel() const;

  // For people: "<Process name='reader' pid=12 parent=11 stopped
  // exitcode=-SIGTERM daemon>". Its state is initial, started, stopped, closed,
  // or unknown in a process that did not make it.
  //
  // Source: CPython Process.__repr__().
  std::string ToString();
  friend std::ostream& operator<<(std::ostream& out, Process& process) {
    return out << process.ToString();
  }

 private:
  template <typename>
  friend class ProcessBase;

  Process(Options options, std::unique_ptr<internal::Call> call,
          std::string kind = "Process");

  Process() = default;

  // The object of the calling process itself.
  static Process Self();

  static Options ForkOptions();
  absl::Status Signal(absl::string_view operation, int signal);
  std::string DescribeState();

  std::unique_ptr<internal::ProcessState> state_;
};

}  // namespace mp

#endif  // MP_PROCESS_PROCESS_H_
