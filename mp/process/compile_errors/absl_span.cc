#include <vector>

#include "absl/types/span.h"
#include "mp/process/process.h"

void Work(absl::Span<const int>) {}

int main() { mp::Process p(Work, std::vector<int>{1, 2}); }
