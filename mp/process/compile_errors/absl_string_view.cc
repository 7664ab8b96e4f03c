#include "absl/strings/string_view.h"
#include "mp/process/internal/call.h"

void Work(absl::string_view) {}

int main() { mp::internal::MakeTravellingCall(Work, "text"); }
