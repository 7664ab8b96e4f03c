#include <functional>

#include "mp/process/internal/call.h"

int main() {
  mp::internal::MakeTravellingCall(std::function<void()>([] {}));
}
