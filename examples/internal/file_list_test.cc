#include "examples/internal/file_list.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "examples/internal/test_tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/leaks.h"

namespace examples {

bool operator==(const ListFailure& a, const ListFailure& b) {
  return a.name == b.name && a.problem == b.problem;
}
void PrintTo(const ListFailure& failure, std::ostream* out) {
  *out << failure.name << ": " << failure.problem;
}

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Runs in a folder of its own.
class FileListTest : public ::testing::Test {
 protected:
  FileListTest() { EXPECT_EQ(chdir(tree_.path().c_str()), 0); }
  ~FileListTest() override { EXPECT_EQ(chdir("/"), 0); }

  static std::vector<std::string> NamesIn(
      const std::vector<std::string>& roots) {
    const FileList list = ListFiles(roots);
    EXPECT_THAT(list.failures, IsEmpty());
    std::vector<std::string> names;
    for (const ListedFile& file : list.files) names.push_back(file.name);
    return names;
  }

  mp::testing::LeakCheck leak_check_;
  TestTree tree_;
};

TEST_F(FileListTest, ListsFilesInAllDepthsByTheirBytes) {
  for (const char* name :
       {"r/a.c", "r/a/z", "r/a/b/y", "r/B", "r/\xff", "r/ "}) {
    tree_.MakeFile(name);
  }
  EXPECT_THAT(NamesIn({"r"}),
              ElementsAre("r/ ", "r/B", "r/a.c", "r/a/b/y", "r/a/z", "r/\xff"));
}

TEST_F(FileListTest, KnowsSizes) {
  tree_.MakeFile("three", "abc");
  EXPECT_EQ(ListFiles({"three"}).files.at(0).size_bytes, 3);
}

TEST_F(FileListTest, NamesBeginWithTheRootAsGiven) {
  tree_.MakeFolder("r");
  tree_.MakeFile("r/f");
  EXPECT_THAT(NamesIn({"./r"}), ElementsAre("./r/f"));
  EXPECT_THAT(NamesIn({"r/"}), ElementsAre("r/f"));
  EXPECT_THAT(NamesIn({"r//"}), ElementsAre("r//f"));
  EXPECT_THAT(NamesIn({"."}), ElementsAre("./r/f"));
}

TEST_F(FileListTest, SortsTheRootsTogetherAndKeepsDuplicates) {
  tree_.MakeFolder("a");
  tree_.MakeFolder("b");
  tree_.MakeFile("a/f");
  tree_.MakeFile("b/f");
  EXPECT_THAT(NamesIn({"b", "a", "b/f"}), ElementsAre("a/f", "b/f", "b/f"));
}

TEST_F(FileListTest, FollowsNoLinkButOneThatEndsInASlash) {
  tree_.MakeFolder("r/folder");
  tree_.MakeFile("r/folder/f");
  tree_.MakeLink("folder", "r/link_to_folder");
  tree_.MakeLink("folder/f", "r/link_to_file");
  tree_.MakeLink("nowhere", "r/dangling");
  EXPECT_THAT(NamesIn({"r"}), ElementsAre("r/folder/f"));
  EXPECT_THAT(NamesIn({"r/link_to_folder"}), IsEmpty());
  EXPECT_THAT(NamesIn({"r/link_to_file"}), IsEmpty());
  EXPECT_THAT(NamesIn({"r/link_to_folder/"}),
              ElementsAre("r/link_to_folder/f"));
}

TEST_F(FileListTest, SkipsWhatIsNeitherFileNorFolder) {
  tree_.MakeFifo("fifo");
  EXPECT_THAT(NamesIn({".", "fifo", "/dev/null"}), IsEmpty());
}

TEST_F(FileListTest, SaysWhatCannotBeListedAndGoesOn) {
  tree_.MakeFile("f");
  const FileList list = ListFiles({"z", "f/", "f", "a"});
  EXPECT_THAT(list.failures,
              ElementsAre(ListFailure{"a", "No such file or directory"},
                          ListFailure{"f/", "Not a directory"},
                          ListFailure{"z", "No such file or directory"}));
  ASSERT_EQ(list.files.size(), 1);
  EXPECT_EQ(list.files[0].name, "f");
}

TEST_F(FileListTest, AFileThatNoNameReachesIsAFailure) {
  const std::string folder(NAME_MAX, 'd');
  std::string path = "r";
  tree_.MakeFolder(path);
  ASSERT_EQ(chdir("r"), 0);
  while (path.size() + 1 + folder.size() < PATH_MAX) {
    ASSERT_EQ(mkdir(folder.c_str(), 0755), 0);
    ASSERT_EQ(chdir(folder.c_str()), 0);
    absl::StrAppend(&path, "/", folder);
  }
  const std::string too_long(PATH_MAX - path.size() - 1, 'f');
  const std::string just_right = too_long.substr(1);
  ASSERT_TRUE(std::ofstream(too_long) && std::ofstream(just_right));
  ASSERT_EQ(chdir(tree_.path().c_str()), 0);

  const FileList list = ListFiles({"r"});
  ASSERT_EQ(list.files.size(), 1);
  EXPECT_EQ(list.files[0].name, path + "/" + just_right);
  EXPECT_THAT(list.failures, ElementsAre(ListFailure{path + "/" + too_long,
                                                     "File name too long"}));
}

}  // namespace
}  // namespace examples
