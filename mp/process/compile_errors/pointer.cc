#include "mp/process/internal/call.h"

void Work(int*) {}

int main() {
  int number = 1;
  mp::internal::MakeTravellingCall(Work, &number);
}
