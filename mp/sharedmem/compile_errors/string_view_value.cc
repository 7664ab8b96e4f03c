#include <string_view>

#include "mp/sharedmem/raw_value.h"

int main() { mp::RawValue<std::string_view> value; }
