#ifndef EXAMPLES_INTERNAL_TEST_TREE_H_
#define EXAMPLES_INTERNAL_TEST_TREE_H_

#include <sys/types.h>

#include <string>

#include "absl/strings/string_view.h"

namespace examples {

// A folder of a test's own, in which it makes what it needs. What cannot be
// made ends the test program.
//
// Owns: the folder, which goes away with all that is in it.
class TestTree {
 public:
  TestTree();
  ~TestTree();
  TestTree(const TestTree&) = delete;
  TestTree& operator=(const TestTree&) = delete;

  const std::string& path() const { return path_; }
  std::string PathOf(absl::string_view name) const;

  // Names are relative to the folder. The first two make the folders on the way
  // too, and return the path.
  std::string MakeFolder(absl::string_view name);
  std::string MakeFile(absl::string_view name, absl::string_view content = "");
  void MakeLink(absl::string_view target, absl::string_view name);
  void MakeFifo(absl::string_view name);

  // Makes a file that takes no room on the disk, and long to hash: about a
  // second for each 2 GiB.
  void MakeSparseFile(absl::string_view name, off_t size_bytes);

 private:
  std::string path_;
};

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_TEST_TREE_H_
