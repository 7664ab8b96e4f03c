#include <vector>

#include "mp/process/process.h"

void Work(const std::vector<int>&) {}

int main() { mp::Process p(Work, 1000); }
