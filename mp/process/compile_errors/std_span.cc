#include <span>
#include <vector>

#include "mp/process/process.h"

void Work(std::span<const int>) {}

int main() { mp::Process p(Work, std::vector<int>{1, 2}); }
