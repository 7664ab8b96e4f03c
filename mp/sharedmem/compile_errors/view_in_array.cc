#include <array>
#include <string_view>

#include "mp/sharedmem/raw_value.h"

int main() { mp::RawValue<std::array<std::string_view, 2>> value; }
