#include <string>

#include "mp/sharedmem/raw_value.h"

int main() { mp::RawValue<std::string> value; }
