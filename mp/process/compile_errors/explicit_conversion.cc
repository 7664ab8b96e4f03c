#include <vector>

#include "mp/process/internal/call.h"

void Work(const std::vector<int>&) {}

int main() { mp::internal::MakeTravellingCall(Work, 1000); }
