#include <string_view>

#include "mp/process/internal/call.h"

void Work(std::string_view) {}

int main() { mp::internal::MakeTravellingCall(Work, "text"); }
