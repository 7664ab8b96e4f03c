#include "absl/types/span.h"
#include "mp/sharedmem/raw_array.h"

int main() { mp::RawArray<absl::Span<int>> array; }
