#include "examples/internal/test_tree.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"

namespace examples {
namespace {

void Check(bool good, absl::string_view what) {
  if (good) return;
  std::perror(std::string(what).c_str());
  std::abort();
}

}  // namespace

TestTree::TestTree() : path_(::testing::TempDir() + "/tree_XXXXXX") {
  Check(mkdtemp(path_.data()) != nullptr, path_);
  Check(chmod(path_.c_str(), 0755) == 0, path_);
}

TestTree::~TestTree() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) ADD_FAILURE() << path_ << ": " << error.message();
}

std::string TestTree::PathOf(absl::string_view name) const {
  return absl::StrCat(path_, "/", name);
}

std::string TestTree::MakeFolder(absl::string_view name) {
  std::string path = PathOf(name);
  std::filesystem::create_directories(path);
  return path;
}

std::string TestTree::MakeFile(absl::string_view name,
                               absl::string_view content) {
  std::string path = PathOf(name);
  std::filesystem::create_directories(
      std::filesystem::path(path).parent_path());
  const mp::Fd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  Check(file.is_open(), path);
  Check(mp::WriteAll(file.get(), content).ok(), path);
  return path;
}

void TestTree::MakeLink(absl::string_view target, absl::string_view name) {
  Check(symlink(std::string(target).c_str(), PathOf(name).c_str()) == 0, name);
}

void TestTree::MakeFifo(absl::string_view name) {
  Check(mkfifo(PathOf(name).c_str(), 0644) == 0, name);
}

void TestTree::MakeSparseFile(absl::string_view name, off_t size_bytes) {
  const std::string path = MakeFile(name);
  Check(truncate(path.c_str(), size_bytes) == 0, path);
}

}  // namespace examples
