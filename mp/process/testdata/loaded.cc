// A library that a program loads later.

#include <unistd.h>

extern "C" void Loaded() { _exit(33); }
