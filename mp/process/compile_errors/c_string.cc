#include "mp/process/internal/call.h"

void Work(const char*) {}

int main() { mp::internal::MakeTravellingCall(Work, "text"); }
