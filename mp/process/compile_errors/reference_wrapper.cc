#include <functional>

#include "mp/process/internal/call.h"

int main() {
  int number = 1;
  mp::internal::MakeTravellingCall([](auto n) { return n + 1; },
                                   std::ref(number));
}
