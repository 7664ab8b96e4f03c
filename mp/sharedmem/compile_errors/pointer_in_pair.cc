#include <utility>

#include "mp/sharedmem/raw_value.h"

int main() { mp::RawValue<std::pair<int, char*>> value; }
