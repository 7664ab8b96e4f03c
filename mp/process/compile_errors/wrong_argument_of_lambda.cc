#include <string>

#include "mp/process/internal/call.h"

int main() {
  mp::internal::MakeTravellingCall([](auto n) -> decltype(n + 1) { return 0; },
                                   std::string());
}
