#include "mp/process/process.h"

void Work(int*) {}

int main() {
  int number = 1;
  mp::Process p(Work, &number);
}
