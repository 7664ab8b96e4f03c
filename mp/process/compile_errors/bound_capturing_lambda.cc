#include "mp/process/bind.h"
#include "mp/process/process.h"

int main() {
  int number = 1;
  mp::Process p(mp::Bind([number](int more) { return number + more; }, 2));
}
