#include "examples/internal/file_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/fd.h"

namespace examples {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// Opens a folder, though not through a link that has taken its place.
Directory OpenDirectory(const std::string& name) {
  mp::Fd fd(
      open(name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  Directory directory(fd.is_open() ? fdopendir(fd.get()) : nullptr);
  if (directory != nullptr) static_cast<void>(fd.Release());  // now its own
  return directory;
}

class Lister {
 public:
  void Visit(const std::string& root) {
    VisitEntry(AT_FDCWD, root, root, DT_UNKNOWN);
    while (!folders_.empty()) {
      const std::string folder = std::move(folders_.back());
      folders_.pop_back();
      VisitFolder(folder);
    }
  }

  FileList Finish() && {
    std::sort(list_.files.begin(), list_.files.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    std::sort(list_.failures.begin(), list_.failures.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return std::move(list_);
  }

 private:
  void VisitFolder(const std::string& folder) {
    const Directory directory = OpenDirectory(folder);
    if (directory == nullptr) return Fail(folder, errno);
    const absl::string_view slash = absl::EndsWith(folder, "/") ? "" : "/";
    while (true) {
      errno = 0;  // the only way to tell the end from an error
      const dirent* const entry = readdir(directory.get());
      if (entry == nullptr) break;
      const absl::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      VisitEntry(dirfd(directory.get()), entry->d_name,
                 absl::StrCat(folder, slash, name), entry->d_type);
    }
    if (errno != 0) Fail(folder, errno);
  }

  // `type` is what the folder says, if it does (man 3 readdir, d_type).
  void VisitEntry(int folder, const std::string& entry, std::string name,
                  unsigned char type) {
    if (type != DT_UNKNOWN && type != DT_DIR && type != DT_REG) return;
    struct stat info = {};
    if (type == DT_DIR) {
      info.st_mode = S_IFDIR;
    } else if (fstatat(folder, entry.c_str(), &info, AT_SYMLINK_NOFOLLOW)) {
      return Fail(std::move(name), errno);
    }
    if (S_ISDIR(info.st_mode)) return folders_.push_back(std::move(name));
    if (!S_ISREG(info.st_mode)) return;
    if (name.size() >= PATH_MAX) return Fail(std::move(name), ENAMETOOLONG);
    list_.files.push_back(
        {std::move(name), static_cast<uint64_t>(info.st_size)});
  }

  void Fail(std::string name, int error) {
    list_.failures.push_back(
        {std::move(name), std::generic_category().message(error)});
  }

  FileList list_;
  std::vector<std::string> folders_;  // still to be visited
};

}  // namespace

FileList ListFiles(absl::Span<const std::string> roots) {
  Lister lister;
  for (const std::string& root : roots) lister.Visit(root);
  return std::move(lister).Finish();
}

}  // namespace examples
