#include <span>
#include <vector>

#include "mp/process/internal/call.h"

void Work(std::span<const int>) {}

int main() { mp::internal::MakeTravellingCall(Work, std::vector<int>{1, 2}); }
