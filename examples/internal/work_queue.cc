#include "examples/internal/work_queue.h"

#include <limits.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "examples/internal/file_list.h"

namespace examples {
namespace {

constexpr size_t kMaxNameBytes = size_t{4} * PATH_MAX;

}  // namespace

WorkQueue::WorkQueue(const std::vector<ListedFile>& files, size_t max_files,
                     uint64_t max_bytes)
    : files_(files), max_files_(max_files), max_bytes_(max_bytes) {
  PutBack({0, files.size()});
}

FileRange WorkQueue::Take() {
  if (ranges_.empty()) return {};
  FileRange& source = ranges_.front();
  FileRange batch = {source.begin, source.begin};
  uint64_t bytes = 0;
  size_t name_bytes = 0;
  while (batch.end < source.end && batch.end - batch.begin < max_files_ &&
         bytes < max_bytes_) {
    name_bytes += files_[batch.end].name.size();
    if (name_bytes > kMaxNameBytes && !batch.empty()) break;
    bytes += files_[batch.end].size_bytes;
    ++batch.end;
  }
  source.begin = batch.end;
  if (source.empty()) ranges_.pop_front();
  return batch;
}

void WorkQueue::PutBack(FileRange range) {
  if (!range.empty()) ranges_.push_front(range);
}

size_t WorkQueue::size() const {
  size_t count = 0;
  for (const FileRange& range : ranges_) count += range.end - range.begin;
  return count;
}

}  // namespace examples
