#include "absl/strings/string_view.h"
#include "mp/process/internal/call.h"

struct Job {
  absl::string_view path;
  MP_FIELDS(path)
};

void Work(const Job&) {}

int main() { mp::internal::MakeTravellingCall(Work, Job()); }
