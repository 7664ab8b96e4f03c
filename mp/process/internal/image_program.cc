// Prints where a function lies, as this process names it: "ID OFFSET".
//
// usage: image_program          a function of this program
//        image_program LIBRARY  the function Answer of a library
//        image_program FIND ID OFFSET
//                               prints "found" if that is the first one's name
//
// Exit status: 0, or 1 with the error on stderr.

#include <dlfcn.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/image.h"

namespace mp::internal {
namespace {

int Answer() { return 42; }
const void* const kAnswer = reinterpret_cast<const void*>(&Answer);

absl::Status PrintLocation(const void* code) {
  MP_ASSIGN_OR_RETURN(const CodeLocation location,
                      LocateCode(code, /*must_be_startup_image=*/false));
  std::cout << location.image_id << " " << location.offset << "\n";
  return absl::OkStatus();
}

absl::Status PrintLocationIn(const char* library) {
  void* const handle = dlopen(library, RTLD_NOW);
  const void* const answer = handle ? dlsym(handle, "Answer") : nullptr;
  if (answer == nullptr) return absl::NotFoundError(dlerror());
  return PrintLocation(answer);
}

absl::Status Find(const char* id, const char* offset) {
  CodeLocation location = {.image_id = id};
  if (!absl::SimpleAtoi(offset, &location.offset)) {
    return absl::InvalidArgumentError(absl::StrCat(offset, " is no number"));
  }
  MP_ASSIGN_OR_RETURN(const void* const code, FindCode(location));
  std::cout << (code == kAnswer ? "found" : "found another") << "\n";
  return absl::OkStatus();
}

absl::Status Main(int argc, char** argv) {
  if (argc == 1) return PrintLocation(kAnswer);
  if (argc == 2) return PrintLocationIn(argv[1]);
  if (argc == 4) return Find(argv[2], argv[3]);
  return absl::InvalidArgumentError("wrong number of arguments");
}

}  // namespace
}  // namespace mp::internal

int main(int argc, char** argv) {
  const absl::Status status = mp::internal::Main(argc, argv);
  if (status.ok()) return EXIT_SUCCESS;
  std::cerr << status << "\n";
  return EXIT_FAILURE;
}
