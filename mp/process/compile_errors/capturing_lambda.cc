#include "mp/process/process.h"

int main() {
  int number = 1;
  mp::Process p([number] { return number; });
}
