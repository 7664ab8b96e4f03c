#include <memory>

#include "mp/process/process.h"

void Work(std::shared_ptr<int>) {}

int main() { mp::Process p(Work, std::make_shared<int>(1)); }
