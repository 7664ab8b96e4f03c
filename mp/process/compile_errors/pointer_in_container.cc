#include <map>
#include <string>
#include <vector>

#include "mp/process/process.h"

void Work(const std::map<std::string, std::vector<int*>>&) {}

int main() { mp::Process p(Work, std::map<std::string, std::vector<int*>>()); }
