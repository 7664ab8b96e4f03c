#include "mp/process/bind.h"
#include "mp/process/internal/call.h"

void Work(int, int) {}

int main() { mp::internal::MakeTravellingCall(mp::Bind(Work, "text"), 1); }
