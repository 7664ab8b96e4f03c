// A library for image_test to load. ANSWER makes one that differs.

#ifndef ANSWER
#define ANSWER 42
#endif

extern "C" int Answer() { return ANSWER; }
