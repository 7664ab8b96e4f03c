#include "mp/process/bind.h"
#include "mp/process/process.h"

void Work(int, int) {}

int main() { mp::Process p(mp::Bind(Work, "text"), 1); }
