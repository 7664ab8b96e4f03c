#include <vector>

#include "mp/process/process.h"

void Work(std::vector<int>& result) { result.push_back(1); }

int main() {
  std::vector<int> result;
  mp::Process p(Work, result);
}
