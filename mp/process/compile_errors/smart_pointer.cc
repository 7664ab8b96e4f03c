#include <memory>

#include "mp/process/internal/call.h"

void Work(std::shared_ptr<int>) {}

int main() { mp::internal::MakeTravellingCall(Work, std::make_shared<int>(1)); }
