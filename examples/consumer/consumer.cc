// A program in a workspace of its own, which depends on mp.

#include <iostream>
#include <string>

#include "mp/base/status_macros.h"
#include "mp/process/init.h"
#include "mp/process/process.h"

void Greet(const std::string& name) { std::cout << "hello " << name << "\n"; }

int main(int argc, char** argv) {
  mp::Init(argc, argv);
  mp::Process process(Greet, "bob");
  MP_CHECK_OK(process.Start());
  MP_CHECK_OK(process.Join());
  return process.exitcode().value_or(1);
}
