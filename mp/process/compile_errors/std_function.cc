#include <functional>

#include "mp/process/process.h"

int main() {
  mp::Process p(std::function<void()>([] {}));
}
