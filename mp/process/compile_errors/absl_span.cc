#include <vector>

#include "absl/types/span.h"
#include "mp/process/internal/call.h"

void Work(absl::Span<const int>) {}

int main() { mp::internal::MakeTravellingCall(Work, std::vector<int>{1, 2}); }
