#include "mp/process/context.h"

#include <atomic>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"

namespace mp {
namespace {

constexpr StartMethod kMethods[] = {StartMethod::kForkServer,
                                    StartMethod::kFork, StartMethod::kSpawn,
                                    StartMethod::kThread};
constexpr int kUnset = -1;

// Each is a StartMethod or kUnset.
std::atomic<int> chosen_method{kUnset};
std::atomic<int> process_method{kUnset};
thread_local int thread_method = kUnset;

StartMethod DefaultMethod() {
  for (const int method :
       {thread_method, chosen_method.load(), process_method.load()}) {
    if (method != kUnset) return static_cast<StartMethod>(method);
  }
  return kMethods[0];
}

}  // namespace

absl::string_view StartMethodName(StartMethod method) {
  switch (method) {
    case StartMethod::kForkServer:
      return "forkserver";
    case StartMethod::kFork:
      return "fork";
    case StartMethod::kSpawn:
      return "spawn";
    case StartMethod::kThread:
      return "thread";
  }
  return "?";
}

StartMethod Context::start_method() const {
  return method_.has_value() ? *method_ : DefaultMethod();
}

absl::StatusOr<Context> GetContext(absl::string_view name) {
  for (const StartMethod method : kMethods) {
    if (StartMethodName(method) == name) return Context(method);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "GetContext: there is no start method \"", name, "\"; there are ",
      absl::StrJoin(GetAllStartMethods(), ", ")));
}

absl::Status SetStartMethod(absl::string_view name, bool force) {
  MP_ASSIGN_OR_RETURN(const Context context, GetContext(name));
  const int method = static_cast<int>(context.start_method());
  int unset = kUnset;
  if (force) {
    chosen_method.store(method);
  } else if (!chosen_method.compare_exchange_strong(unset, method)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "SetStartMethod(\"", name, "\"): it has been set to \"",
        StartMethodName(static_cast<StartMethod>(unset)), "\" already"));
  }
  return absl::OkStatus();
}

void ResetStartMethod() { chosen_method.store(kUnset); }

absl::string_view GetStartMethod(bool allow_none) {
  if (allow_none && chosen_method.load() == kUnset) return "";
  return StartMethodName(Context().start_method());
}

std::vector<std::string> GetAllStartMethods() {
  std::vector<std::string> names;
  for (const StartMethod method : kMethods) {
    names.emplace_back(StartMethodName(method));
  }
  return names;
}

namespace internal {

void SetProcessStartMethod(StartMethod method) {
  thread_method = kUnset;
  chosen_method.store(kUnset);
  process_method.store(static_cast<int>(method));
}

void SetThreadStartMethod(StartMethod method) {
  thread_method = static_cast<int>(method);
}

}  // namespace internal
}  // namespace mp
