#include <string_view>

#include "mp/process/process.h"

void Work(std::string_view) {}

int main() { mp::Process p(Work, "text"); }
