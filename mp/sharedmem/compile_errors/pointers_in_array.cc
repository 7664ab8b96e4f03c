#include "mp/sharedmem/raw_value.h"

int main() { mp::RawValue<const char* [4]> value; }
