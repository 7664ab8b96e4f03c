#include "absl/strings/string_view.h"
#include "mp/process/process.h"

void Work(absl::string_view) {}

int main() { mp::Process p(Work, "text"); }
