#include "mp/process/process.h"

void Work(int) {}

int main() { mp::Process p(Work, "text"); }
