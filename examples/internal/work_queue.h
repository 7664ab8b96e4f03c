#ifndef EXAMPLES_INTERNAL_WORK_QUEUE_H_
#define EXAMPLES_INTERNAL_WORK_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "examples/internal/file_list.h"

namespace examples {

// Some files of a list, one after the other: those from `begin` up to and
// without `end`.
struct FileRange {
  size_t begin = 0;
  size_t end = 0;

  bool empty() const { return begin == end; }
  friend bool operator==(FileRange, FileRange) = default;
};

// The files that nobody works on yet, first things first.
//
// Owns:    nothing; the list has to stay.
// Threads: not safe.
class WorkQueue {
 public:
  // Makes batches of at most `max_files`, which end with the file that brings
  // them to `max_bytes`. Their names, together, are at most as long as four of
  // PATH_MAX, so that two batches fit into a socket.
  WorkQueue(const std::vector<ListedFile>& files, size_t max_files,
            uint64_t max_bytes);

  bool empty() const { return ranges_.empty(); }

  // Takes the next batch; an empty one if there is none.
  FileRange Take();

  // Puts back what was taken and not done, before all else.
  void PutBack(FileRange range);

  // Returns how many files are left.
  size_t size() const;

 private:
  const std::vector<ListedFile>& files_;
  const size_t max_files_;
  const uint64_t max_bytes_;
  std::deque<FileRange> ranges_;  // none of them empty
};

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_WORK_QUEUE_H_
