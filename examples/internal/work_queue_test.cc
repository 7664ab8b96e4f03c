#include "examples/internal/work_queue.h"

#include <limits.h>

#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <string>
#include <vector>

#include "examples/internal/file_list.h"
#include "gtest/gtest.h"

namespace examples {

void PrintTo(FileRange range, std::ostream* out) {
  *out << "[" << range.begin << ", " << range.end << ")";
}

namespace {

std::vector<ListedFile> FilesOf(std::initializer_list<uint64_t> sizes) {
  std::vector<ListedFile> files;
  for (const uint64_t size : sizes) files.push_back({"name", size});
  return files;
}

TEST(WorkQueueTest, ABatchHasAtMostSoManyFiles) {
  const std::vector<ListedFile> files = FilesOf({1, 1, 1, 1, 1});
  WorkQueue queue(files, /*max_files=*/2, /*max_bytes=*/100);
  EXPECT_EQ(queue.Take(), (FileRange{0, 2}));
  EXPECT_EQ(queue.Take(), (FileRange{2, 4}));
  EXPECT_EQ(queue.Take(), (FileRange{4, 5}));
  EXPECT_TRUE(queue.Take().empty());
}

TEST(WorkQueueTest, ABatchEndsWithTheFileThatFillsIt) {
  const std::vector<ListedFile> files = FilesOf({99, 1000, 0, 100, 5});
  WorkQueue queue(files, /*max_files=*/10, /*max_bytes=*/100);
  EXPECT_EQ(queue.Take(), (FileRange{0, 2}));
  EXPECT_EQ(queue.Take(), (FileRange{2, 4}));
  EXPECT_EQ(queue.Take(), (FileRange{4, 5}));
}

TEST(WorkQueueTest, TheNamesOfABatchFitIntoASocket) {
  const std::vector<ListedFile> files(6, {std::string(PATH_MAX - 1, 'x'), 1});
  WorkQueue queue(files, /*max_files=*/10, /*max_bytes=*/100);
  EXPECT_EQ(queue.Take(), (FileRange{0, 4}));
  EXPECT_EQ(queue.Take(), (FileRange{4, 6}));
}

TEST(WorkQueueTest, WhatIsPutBackComesFirst) {
  const std::vector<ListedFile> files = FilesOf({1, 1, 1, 1, 1, 1});
  WorkQueue queue(files, /*max_files=*/3, /*max_bytes=*/100);
  EXPECT_EQ(queue.Take(), (FileRange{0, 3}));
  queue.PutBack({2, 3});
  queue.PutBack({1, 1});
  EXPECT_EQ(queue.size(), 4);
  EXPECT_EQ(queue.Take(), (FileRange{2, 3}));
  EXPECT_EQ(queue.Take(), (FileRange{3, 6}));
  EXPECT_TRUE(queue.empty());
}

TEST(WorkQueueTest, OfNoFilesIsEmpty) {
  const std::vector<ListedFile> none;
  EXPECT_TRUE(WorkQueue(none, 1, 1).empty());
}

}  // namespace
}  // namespace examples
