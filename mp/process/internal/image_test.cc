#include "mp/process/internal/image.h"

#include <dlfcn.h>
#include <stdio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/status_matchers.h"

// Of a library that this program is linked with.
extern "C" int LinkedAnswer();

namespace mp::internal {

bool operator==(const CodeLocation& a, const CodeLocation& b) {
  return a.image_id == b.image_id && a.offset == b.offset;
}

namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::NotNull;
using ::testing::StartsWith;

// Where the libraries and programs of the test are.
const char kFolder[] = "mp/process/internal/";
std::string InFolder(const char* name) { return absl::StrCat(kFolder, name); }

// A library that is loaded while this lives.
class Library {
 public:
  explicit Library(const char* name)
      : handle_(dlopen(InFolder(name).c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) ADD_FAILURE() << dlerror();
  }
  ~Library() { dlclose(handle_); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  const void* Answer() const { return dlsym(handle_, "Answer"); }
  CodeLocation Location() const { return *LocateCode(Answer(), false); }

 private:
  void* const handle_;
};

int Function() { return 42; }
const void* const kFunction = reinterpret_cast<const void*>(&Function);

int variable = 42;

// Runs a program and returns the line that it prints.
std::string OutputOf(const std::string& command) {
  FILE* const output = popen(InFolder(command.c_str()).c_str(), "r");
  char line[1000] = "";
  static_cast<void>(fgets(line, sizeof(line), output));
  EXPECT_EQ(pclose(output), 0) << command;
  return std::string(absl::StripSuffix(line, "\n"));
}

std::string Text(const CodeLocation& location) {
  return absl::StrCat(location.image_id, " ", location.offset);
}

class ImageTest : public ::testing::Test {
 protected:
  // The first call counts, so it is for all tests. One library is loaded before
  // and stays.
  static void SetUpTestSuite() {
    static const Library& early = *new Library("early_plugin.so");
    RememberStartupImages();
    early_ = &early;
  }

  static const Library* early_;
};
const Library* ImageTest::early_;

TEST_F(ImageTest, FindsWhatItHasLocated) {
  const Library library("plugin.so");
  for (const void* const code :
       {kFunction, reinterpret_cast<const void*>(&LinkedAnswer),
        reinterpret_cast<const void*>(&absl::CEscape), library.Answer()}) {
    const absl::StatusOr<CodeLocation> location = LocateCode(code, false);
    ASSERT_THAT(location, IsOk());
    EXPECT_THAT(FindCode(*location), IsOkAndHolds(code));
  }
}

TEST_F(ImageTest, ProgramAndLinkedLibrariesAreThereFromTheStart) {
  EXPECT_THAT(LocateCode(kFunction, true), IsOk());
  EXPECT_THAT(LocateCode(reinterpret_cast<const void*>(&LinkedAnswer), true),
              IsOk());
  EXPECT_THAT(LocateCode(early_->Answer(), true), IsOk());
}

TEST_F(ImageTest, RefusesForNewProcessesWhatWasLoadedLater) {
  const Library library("plugin.so");
  EXPECT_THAT(library.Answer(), NotNull());
  EXPECT_THAT(LocateCode(library.Answer(), true),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("the function lies in mp/process"),
                             HasSubstr("internal/plugin.so ("),
                             HasSubstr("was loaded after mp::Init()"))));
}

TEST_F(ImageTest, LibraryIsUnknownOnceItIsGone) {
  absl::StatusOr<CodeLocation> location;
  {
    const Library library("plugin.so");
    location = LocateCode(library.Answer(), false);
    ASSERT_THAT(FindCode(*location), IsOk());
  }
  EXPECT_THAT(FindCode(*location),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(ImageTest, UnknownImageIsAnErrorThatListsTheImages) {
  EXPECT_THAT(
      FindCode({.image_id = "0123/libother.so", .offset = 16}),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("an image (0123/libother.so)"),
                     HasSubstr("\n  the program ("),
                     HasSubstr("libimage_linked.so ("), HasSubstr("libc.so"))));
}

TEST_F(ImageTest, ForgedIdIsPrintedEscaped) {
  EXPECT_THAT(FindCode({.image_id = "\33[2J", .offset = 16}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("(\\033[2J)"), Not(HasSubstr("\33")))));
}

TEST_F(ImageTest, OffsetMustBeInCode) {
  const std::string id = LocateCode(kFunction, false)->image_id;
  for (const uint64_t offset :
       {uint64_t{1} << 40, UINT64_MAX, uint64_t{1} << 63}) {
    EXPECT_THAT(FindCode({.image_id = id, .offset = offset}),
                StatusIs(absl::StatusCode::kDataLoss,
                         HasSubstr("the program is not executable code")));
  }
}

TEST_F(ImageTest, RefusesPointersThatAreNotToCode) {
  const int on_stack = 42;
  const auto on_heap = std::make_unique<int>(42);
  for (const void* const pointer :
       std::vector<const void*>{nullptr, &variable, &on_stack, on_heap.get()}) {
    EXPECT_THAT(LocateCode(pointer, false),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("is not to a function of the program")));
    EXPECT_THAT(LocateCode(pointer, true),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST_F(ImageTest, DescribesTheImages) {
  const Library library("plugin.so");
  EXPECT_THAT(
      DescribeImages(),
      AllOf(StartsWith("  the program ("),
            HasSubstr(absl::StrCat("internal/plugin.so (",
                                   library.Location().image_id, ")\n"))));
}

TEST_F(ImageTest, IdIsTheBuildIdAndTheName) {
  const Library library("plugin.so");
  EXPECT_THAT(library.Location().image_id,
              MatchesRegex("[0-9a-f]{16,40}/plugin.so"));
}

TEST_F(ImageTest, IdWithoutBuildIdIsOfTheContent) {
  const Library library("without_build_id/plugin.so");
  EXPECT_THAT(library.Location().image_id,
              MatchesRegex("code:[0-9a-f]{32}/plugin.so"));
  const Library changed("without_build_id/changed/plugin.so");
  EXPECT_THAT(changed.Location().image_id,
              MatchesRegex("code:[0-9a-f]{32}/plugin.so"));
  EXPECT_NE(changed.Location().image_id, library.Location().image_id);
}

TEST_F(ImageTest, LibrariesThatAreAlikeDifferInTheirNames) {
  const Library one("without_build_id/plugin.so");
  const Library other("without_build_id/same_plugin.so");
  EXPECT_NE(one.Location().image_id, other.Location().image_id);
  EXPECT_THAT(FindCode(one.Location()), IsOkAndHolds(one.Answer()));
  EXPECT_THAT(FindCode(other.Location()), IsOkAndHolds(other.Answer()));
}

TEST_F(ImageTest, LibraryHasTheSameNameInOtherProcesses) {
  for (const char* const name : {"plugin.so", "without_build_id/plugin.so"}) {
    const Library library(name);
    EXPECT_EQ(OutputOf(absl::StrCat("image_program ", InFolder(name))),
              Text(library.Location()));
  }
}

TEST_F(ImageTest, ProgramHasTheSameNameInItsProcesses) {
  for (const std::string program :
       {"image_program", "image_program_without_build_id"}) {
    const std::string location = OutputOf(program);
    EXPECT_EQ(OutputOf(program), location);
    EXPECT_EQ(OutputOf(absl::StrCat(program, " FIND ", location)), "found");
  }
}

TEST_F(ImageTest, ProgramWithoutBuildIdIsNamedByItsContent) {
  EXPECT_THAT(OutputOf("image_program"),
              MatchesRegex("[0-9a-f]{16,40}/ [0-9]+"));
  EXPECT_THAT(OutputOf("image_program_without_build_id"),
              MatchesRegex("code:[0-9a-f]{32}/ [0-9]+"));
}

}  // namespace
}  // namespace mp::internal
