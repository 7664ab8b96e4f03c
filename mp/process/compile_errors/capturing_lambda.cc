#include "mp/process/internal/call.h"

int main() {
  int number = 1;
  mp::internal::MakeTravellingCall([number] { return number; });
}
