#ifndef MP_IPC_PICKLE_H_
#define MP_IPC_PICKLE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/ipc/object.h"
#include "mp/ipc/pickle_limits.h"

// Objects as CPython's pickles, without what makes a pickle dangerous: nothing
// is looked up by name and nothing is called.
//
// Example:
//   MP_ASSIGN_OR_RETURN(std::string pickle,
//                       mp::DumpPickle(mp::Object::List({42, nullptr, "hi"})));
//   MP_ASSIGN_OR_RETURN(mp::Object object, mp::LoadPickle(pickle));
//
// Shape:   reads what CPython's pickler writes in protocols 2 to 5; writes
//          protocol 4, the same bytes as CPython 3.11 for the same objects. An
//          object that is in several places is there once, at both ends. One
//          that contains itself is refused.
// Classes: those of Object. A few others become records, if they are on this
//          list; any other name is refused, and named:
//            builtins: the exceptions and warnings; complex, range, slice
//            queue, _queue: Empty, Full
//            threading: BrokenBarrierError
//            multiprocessing: exceptions of its modules context, managers and
//              pool (also "multiprocessing" itself, as protocol 2 has it)
//            multiprocessing.managers: Token, Namespace; the proxies, and
//              AutoProxy, RebuildProxy
//            multiprocessing.connection: rebuild_connection, and
//              multiprocessing.resource_sharer: DupFd
//            multiprocessing.pool, concurrent.futures.process: what carries
//              the traceback of an exception
// Source:  CPython Lib/pickletools.py, Modules/_pickle.c; PEP 307, 3154, 574.
namespace mp {

// Returns the pickle of an Object.
//
// Errors:
//   kInvalidArgument    it contains a str that is not UTF-8, or a record of a
//                       class that is not on the list.
//   kResourceExhausted  it is beyond a limit.
// Source: CPython pickle.dumps(obj, protocol=4).
absl::StatusOr<std::string> DumpPickle(const Object& object,
                                       const PickleLimits& limits = {});

// Returns the Object of a pickle, which may come from anyone.
//
// Errors, which tell the byte:
//   kDataLoss           it is no pickle, cut short, longer than its end; of
//                       another protocol; an object contains itself; or it
//                       needs a class or function that is not on the list.
//   kResourceExhausted  it is beyond a limit.
// Source: CPython pickle.loads(data).
absl::StatusOr<Object> LoadPickle(absl::string_view pickle,
                                  const PickleLimits& limits = {});

}  // namespace mp

#endif  // MP_IPC_PICKLE_H_
