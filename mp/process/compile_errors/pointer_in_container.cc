#include <map>
#include <string>
#include <vector>

#include "mp/process/internal/call.h"

void Work(const std::map<std::string, std::vector<int*>>&) {}

int main() {
  mp::internal::MakeTravellingCall(Work,
                                   std::map<std::string, std::vector<int*>>());
}
