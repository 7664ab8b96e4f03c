#include <functional>

#include "mp/process/process.h"

int main() {
  int number = 1;
  mp::Process p([](auto n) { return n + 1; }, std::ref(number));
}
