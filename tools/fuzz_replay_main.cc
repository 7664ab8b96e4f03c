// Gives the files that the arguments name to a fuzz target, one after the
// other.  The program is the test of mp_fuzz_test() in fuzz.bzl: a target that
// does not survive an input ends it.
//
// Exit status: 0 after at least one input, 1 where there is none to read.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

// The names and types are libFuzzer's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" __attribute__((weak)) int LLVMFuzzerInitialize(int* argc,
                                                          char*** argv);

namespace {

bool Replay(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::cerr << path << ": cannot be read\n";
    return false;
  }
  const std::string input{std::istreambuf_iterator<char>(file), {}};
  // Printed before, so that the last line tells which input it was.
  std::cerr << path << ": " << input.size() << " bytes" << std::endl;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()),
                         input.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  if (argc < 2) {
    std::cerr << "the corpus is empty: nothing was tested\n";
    return EXIT_FAILURE;
  }
  for (int i = 1; i < argc; ++i) {
    if (!Replay(argv[i])) return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
