#include "absl/strings/string_view.h"
#include "mp/process/fields.h"
#include "mp/process/process.h"

struct Job {
  absl::string_view path;
  MP_FIELDS(path)
};

void Work(const Job&) {}

int main() { mp::Process p(Work, Job()); }
