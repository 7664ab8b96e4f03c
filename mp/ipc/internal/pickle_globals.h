#ifndef MP_IPC_INTERNAL_PICKLE_GLOBALS_H_
#define MP_IPC_INTERNAL_PICKLE_GLOBALS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace mp::internal {

// How CPython's pickler makes an object of a class.
enum class PickleMaking {
  kUnknown,  // Not on the list.
  kReduce,   // Calls it with the arguments.
  kNewObj,   // Calls its __new__ with them.
  kValue,    // As kReduce, and what comes out is an Object of its own kind.
};

// Looks in the closed list of classes and functions that a pickle may name.
PickleMaking FindPickleGlobal(absl::string_view module, absl::string_view name);

// Gives a name its new form if it is one of Python 2, as in protocol 2.
//
// Source: CPython Lib/_compat_pickle.py.
void RenamePython2Global(std::string& module, std::string& name);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_PICKLE_GLOBALS_H_
