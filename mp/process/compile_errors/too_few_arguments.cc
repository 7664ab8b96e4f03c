#include "mp/process/internal/call.h"

void Work(int, int) {}

int main() { mp::internal::MakeTravellingCall(Work, 1); }
