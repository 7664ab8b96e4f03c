#include <vector>

#include "mp/process/internal/call.h"

void Work(std::vector<int>& result) { result.push_back(1); }

int main() {
  std::vector<int> result;
  mp::internal::MakeTravellingCall(Work, result);
}
