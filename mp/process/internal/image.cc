#include "mp/process/internal/image.h"

#include <elf.h>
#include <link.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/internal/hold_across_forks.h"

namespace mp::internal {
namespace {

struct Segment {
  uintptr_t begin;
  uintptr_t end;
  bool executable;
  bool Contains(uintptr_t address) const {
    return begin <= address && address < end;
  }
};

struct Image {
  uintptr_t base;
  std::string path;  // empty: the program itself
  std::string build_id;
  std::vector<Segment> constant;  // mapped read-only
  mutable std::string id;         // once somebody asked

  bool HasCodeAt(uintptr_t address) const {
    return std::any_of(constant.begin(), constant.end(), [&](const Segment& s) {
      return s.executable && s.Contains(address);
    });
  }
  std::string name() const { return path.empty() ? "the program" : path; }
};

// Two independent 64-bit FNV-1a style hashes over words. Not against attack:
// both processes are the user's own, and only chance is to be ruled out.
class ContentHash {
 public:
  // Reads what the sanitizers think of as not to be read, between variables.
  __attribute__((no_sanitize("address"))) void Add(const Segment& segment) {
    for (uintptr_t at = segment.begin; at < segment.end; ++at) {
      const uint64_t byte = *reinterpret_cast<const unsigned char*>(at);
      a_ = (a_ ^ byte) * 0x100000001b3;
      b_ = (b_ + byte) * 0x9e3779b97f4a7c15;
      b_ ^= b_ >> 29;
    }
  }
  std::string Text() const {
    return absl::StrCat("code:", absl::Hex(a_, absl::kZeroPad16),
                        absl::Hex(b_, absl::kZeroPad16));
  }

 private:
  uint64_t a_ = 0xcbf29ce484222325;
  uint64_t b_ = 0x51ed270b0a1f39c1;
};

absl::string_view FileName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? path : path.substr(slash + 1);
}

// The id takes a while where there is no build-id, so it waits for a question.
const std::string& IdOf(const Image& image) {
  if (image.id.empty()) {
    std::string content = image.build_id;
    if (content.empty()) {
      ContentHash hash;
      for (const Segment& segment : image.constant) hash.Add(segment);
      content = hash.Text();
    }
    image.id = absl::StrCat(content, "/", FileName(image.path));
  }
  return image.id;
}

// Returns the build-id in a PT_NOTE segment, in hex, or nothing.
std::string BuildIdIn(const char* notes, size_t size) {
  const auto aligned = [](size_t n) { return (n + 3) & ~size_t{3}; };
  while (size >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes, sizeof(note));
    const size_t name = sizeof(note);
    const size_t content = name + aligned(note.n_namesz);
    const size_t next = content + aligned(note.n_descsz);
    if (next > size) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        std::memcmp(notes + name, "GNU", 4) == 0) {
      return absl::BytesToHexString(
          absl::string_view(notes + content, note.n_descsz));
    }
    notes += next;
    size -= next;
  }
  return "";
}

Image ReadImage(const dl_phdr_info& info) {
  Image image;
  image.base = info.dlpi_addr;
  image.path = info.dlpi_name;
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info.dlpi_phdr[i];
    const uintptr_t begin = info.dlpi_addr + header.p_vaddr;
    if (header.p_type == PT_NOTE && image.build_id.empty()) {
      image.build_id =
          BuildIdIn(reinterpret_cast<const char*>(begin), header.p_memsz);
    }
    if (header.p_type == PT_LOAD && (header.p_flags & PF_R) != 0 &&
        (header.p_flags & PF_W) == 0) {
      image.constant.push_back(
          {begin, begin + header.p_memsz, (header.p_flags & PF_X) != 0});
    }
  }
  return image;
}

struct Generation {
  unsigned long long adds = 0;
  unsigned long long subs = 0;
  bool operator==(const Generation&) const = default;
};

Generation CurrentGeneration() {
  Generation generation;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        *static_cast<Generation*>(data) = {info->dlpi_adds, info->dlpi_subs};
        return 1;
      },
      &generation);
  return generation;
}

// The images of this process, read again whenever the loader did something.
class ImageTable {
 public:
  ImageTable() { HoldAcrossForks(mutex_); }

  void RememberStartup() {
    ForkSafeLock lock(mutex_);
    if (!startup_ids_.empty()) return;
    Refresh();
    for (const Image& image : images_)
      startup_ids_.push_back(IdentityOf(image));
  }

  absl::StatusOr<CodeLocation> Locate(const void* address,
                                      bool must_be_startup_image) {
    ForkSafeLock lock(mutex_);
    const auto at = reinterpret_cast<uintptr_t>(address);
    const Image* const image =
        FindImage([&](const Image& image) { return image.HasCodeAt(at); });
    if (image == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("the pointer 0x", absl::Hex(at),
                       " is not to a function of the program or of a library"));
    }
    if (must_be_startup_image && !IsStartup(*image)) {
      return NotLoadedInChild(*image);
    }
    return CodeLocation{IdOf(*image), at - image->base};
  }

  absl::StatusOr<const void*> Find(const CodeLocation& location) {
    ForkSafeLock lock(mutex_);
    const Image* const image = FindImage(
        [&](const Image& image) { return IdOf(image) == location.image_id; });
    if (image != nullptr) {
      const uintptr_t address = image->base + location.offset;
      if (image->HasCodeAt(address)) {
        return reinterpret_cast<const void*>(address);
      }
      return absl::DataLossError(absl::StrCat("offset ", location.offset,
                                              " of ", image->name(),
                                              " is not executable code"));
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "the function lies in an image (", absl::CEscape(location.image_id),
        ") that this process has not loaded, or in another build of it; "
        "loaded are:\n",
        Describe()));
  }

  std::string DescribeAll() {
    ForkSafeLock lock(mutex_);
    Refresh();
    return Describe();
  }

 private:
  // What tells images apart within a process, without their content.
  static std::string IdentityOf(const Image& image) {
    return absl::StrCat(image.build_id, "@", image.path);
  }

  absl::Status NotLoadedInChild(const Image& image)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the function lies in ", image.name(), " (", IdOf(image),
        "), which was loaded after mp::Init(), so that a new process does not "
        "have it; link the library into the program, load it before "
        "mp::Init(), or use the start method fork"));
  }

  bool IsStartup(const Image& image) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const std::string identity = IdentityOf(image);
    return std::find(startup_ids_.begin(), startup_ids_.end(), identity) !=
           startup_ids_.end();
  }

  template <typename Predicate>
  const Image* FindImage(Predicate predicate)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto find = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> const Image* {
      const auto found =
          std::find_if(images_.begin(), images_.end(), predicate);
      return found == images_.end() ? nullptr : &*found;
    };
    if (reader_ != getpid()) {
      const Image* const found = find();
      if (found != nullptr) return found;
    }
    Refresh();
    return find();
  }

  void Refresh() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    reader_ = getpid();
    const Generation now = CurrentGeneration();
    if (!images_.empty() && now == generation_) return;
    generation_ = now;
    images_.clear();
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
          Image image = ReadImage(*info);
          if (!image.constant.empty()) {
            static_cast<std::vector<Image>*>(data)->push_back(std::move(image));
          }
          return 0;
        },
        &images_);
  }

  std::string Describe() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::string text;
    for (const Image& image : images_) {
      absl::StrAppend(&text, "  ", image.name(), " (", IdOf(image), ")\n");
    }
    return text;
  }

  ForkSafeMutex mutex_;
  Generation generation_ ABSL_GUARDED_BY(mutex_);
  std::vector<Image> images_ ABSL_GUARDED_BY(mutex_);
  // The process that last asked the loader. A forked child's list is as good as
  // the parent's, and it does not ask before it has to: the C library does not
  // give it the lock behind dl_iterate_phdr() back that another thread of the
  // parent held (glibc 2.36, elf/dl-iteratephdr.c, _dl_load_write_lock).
  pid_t reader_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> startup_ids_ ABSL_GUARDED_BY(mutex_);
};

ImageTable& Table() {
  static ImageTable& table = *new ImageTable;  // outlives exit handlers
  return table;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] const bool made_early = (Table(), true);

}  // namespace

void RememberStartupImages() { Table().RememberStartup(); }

absl::StatusOr<CodeLocation> LocateCode(const void* address,
                                        bool must_be_startup_image) {
  return Table().Locate(address, must_be_startup_image);
}

absl::StatusOr<const void*> FindCode(const CodeLocation& location) {
  return Table().Find(location);
}

std::string DescribeImages() { return Table().DescribeAll(); }

}  // namespace mp::internal
