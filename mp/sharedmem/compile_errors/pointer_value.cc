#include "mp/sharedmem/value.h"

int main() { mp::Value<int*> value; }
