#include "mp/process/process.h"

void Work(const char*) {}

int main() { mp::Process p(Work, "text"); }
