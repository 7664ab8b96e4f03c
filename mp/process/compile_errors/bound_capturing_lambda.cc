#include "mp/process/bind.h"
#include "mp/process/internal/call.h"

int main() {
  int number = 1;
  mp::internal::MakeTravellingCall(
      mp::Bind([number](int more) { return number + more; }, 2));
}
