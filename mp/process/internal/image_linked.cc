// A library that image_test is linked with.

extern "C" int LinkedAnswer() { return 42; }
