#include "mp/process/process.h"

void Work(int, int) {}

int main() { mp::Process p(Work, 1, 2, 3); }
