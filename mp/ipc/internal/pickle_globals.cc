#include "mp/ipc/internal/pickle_globals.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace mp::internal {
namespace {

using Name = std::pair<absl::string_view, absl::string_view>;
using Table = absl::flat_hash_map<Name, PickleMaking>;

// The subclasses of BaseException in CPython 3.14's builtins.
constexpr absl::string_view kExceptions[] = {
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "BaseExceptionGroup",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "BytesWarning",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "DeprecationWarning",
    "EOFError",
    "EncodingWarning",
    "Exception",
    "ExceptionGroup",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "FutureWarning",
    "GeneratorExit",
    "ImportError",
    "ImportWarning",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "KeyboardInterrupt",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PendingDeprecationWarning",
    "PermissionError",
    "ProcessLookupError",
    "PythonFinalizationError",
    "RecursionError",
    "ReferenceError",
    "ResourceWarning",
    "RuntimeError",
    "RuntimeWarning",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SyntaxWarning",
    "SystemError",
    "SystemExit",
    "TabError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "UnicodeError",
    "UnicodeTranslateError",
    "UnicodeWarning",
    "UserWarning",
    "ValueError",
    "Warning",
    "ZeroDivisionError",
};

constexpr absl::string_view kContext = "multiprocessing.context";
constexpr absl::string_view kManagers = "multiprocessing.managers";
constexpr absl::string_view kPool = "multiprocessing.pool";

constexpr Name kReduced[] = {
    {"builtins", "complex"},
    {"builtins", "range"},
    {"builtins", "slice"},
    {"queue", "Empty"},
    {"queue", "Full"},
    {"_queue", "Empty"},
    {"threading", "BrokenBarrierError"},
    {kContext, "AuthenticationError"},
    {kContext, "BufferTooShort"},
    {kContext, "ProcessError"},
    {kContext, "TimeoutError"},
    {kManagers, "RemoteError"},
    {kPool, "MaybeEncodingError"},
    {kPool, "RemoteTraceback"},
    {kPool, "rebuild_exc"},
    {"concurrent.futures.process", "_RemoteTraceback"},
    {"concurrent.futures.process", "_rebuild_exc"},
    {"concurrent.futures.process", "BrokenProcessPool"},
    // Proxies.
    {kManagers, "AcquirerProxy"},
    {kManagers, "ArrayProxy"},
    {kManagers, "AutoProxy"},
    {kManagers, "BarrierProxy"},
    {kManagers, "BaseProxy"},
    {kManagers, "ConditionProxy"},
    {kManagers, "DictProxy"},
    {kManagers, "EventProxy"},
    {kManagers, "IteratorProxy"},
    {kManagers, "ListProxy"},
    {kManagers, "NamespaceProxy"},
    {kManagers, "PoolProxy"},
    {kManagers, "RebuildProxy"},
    {kManagers, "SetProxy"},
    {kManagers, "ValueProxy"},
    {"multiprocessing.connection", "rebuild_connection"},
};

constexpr Name kMadeByNew[] = {
    {kManagers, "Namespace"},
    {kManagers, "Token"},
    {"multiprocessing.resource_sharer", "DupFd"},
};

constexpr Name kValues[] = {
    {"_codecs", "encode"},     {"builtins", "bytearray"}, {"builtins", "bytes"},
    {"builtins", "frozenset"}, {"builtins", "set"},
};

Table MakeTable() {
  Table table;
  for (const absl::string_view name : kExceptions) {
    table[{"builtins", name}] = PickleMaking::kReduce;
  }
  for (const Name& name : kReduced) table[name] = PickleMaking::kReduce;
  for (const Name& name : kMadeByNew) table[name] = PickleMaking::kNewObj;
  for (const Name& name : kValues) table[name] = PickleMaking::kValue;
  return table;
}

}  // namespace

PickleMaking FindPickleGlobal(absl::string_view module,
                              absl::string_view name) {
  static const Table& table = *new Table(MakeTable());
  const auto found = table.find(Name(module, name));
  return found == table.end() ? PickleMaking::kUnknown : found->second;
}

void RenamePython2Global(std::string& module, std::string& name) {
  if (module == "__builtin__") {
    module = "builtins";
    if (name == "xrange") name = "range";
  } else if (module == "exceptions") {
    module = "builtins";
    if (name == "StandardError") name = "Exception";
  } else if (module == "Queue") {
    module = "queue";
  } else if (module == "multiprocessing") {
    module = std::string(kContext);
  }
}

}  // namespace mp::internal
