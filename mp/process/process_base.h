#ifndef MP_PROCESS_PROCESS_BASE_H_
#define MP_PROCESS_PROCESS_BASE_H_

#include <typeinfo>
#include <utility>

#include "mp/process/internal/object_call.h"
#include "mp/process/process.h"

namespace mp {

// A process as a class: derive from it, declare the fields that travel and give
// it a Run().
//
// Example:
//   class Hasher : public mp::ProcessBase<Hasher> {
//    public:
//     using ProcessBase::ProcessBase;  // for options
//     std::string path;
//     absl::Status Run() { return WriteHash(path); }
//     MP_FIELDS(path)
//   };
//
//   Hasher hasher;  // or hasher(mp::ProcessOptions{.name = "reader"})
//   hasher.path = "/etc/services";
//   MP_CHECK_OK(hasher.Start());
//   MP_CHECK_OK(hasher.Join());
//
// The new process makes a Hasher of its own, by the default constructor, gives
// it the fields as they are at Start(), and calls its Run(), whose result means
// what a Process's function's does. There, the object is the process itself:
// name() and pid() are its own, and it cannot Join() itself. A class without
// fields says MP_FIELDS().
//
// Owns:    as Process. It stays where it is, as Start() reads its fields.
// Threads: as Process.
// Fork:    as Process.
// Source:  CPython multiprocessing.Process, subclassed. Its name is that of the
//          class with a number: "Hasher-1".
template <typename Derived>
class ProcessBase : public Process {
 public:
  explicit ProcessBase(Options options = {})
      : Process(Make(*static_cast<Derived*>(this), std::move(options))) {}

  ProcessBase(const ProcessBase&) = delete;
  ProcessBase& operator=(const ProcessBase&) = delete;

 private:
  static Process Make(Derived& object, Options options) {
    if (internal::ObjectIsReceived()) return Self();
    return Process(std::move(options), internal::MakeObjectCall(object),
                   internal::ClassName(typeid(Derived)));
  }
};

}  // namespace mp

#endif  // MP_PROCESS_PROCESS_BASE_H_
