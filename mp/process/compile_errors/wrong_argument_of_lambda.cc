#include <string>

#include "mp/process/process.h"

int main() {
  mp::Process p([](auto n) -> decltype(n + 1) { return 0; }, std::string());
}
