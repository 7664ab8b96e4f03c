#include "mp/pool/internal/common_bytes.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/memfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/hold_across_forks.h"
#include "mp/process/parcel.h"

namespace mp::internal {
namespace {

// How many objects a process keeps that it has made of what it was sent: those
// that it was told of last. So they outlive the single task.
constexpr size_t kMaxKept = 8;

// A file, and what is made of it. The number of a file is that of no other one
// as long as the object lives, which has it open; nobody can forge it.
using Key = std::tuple<dev_t, ino_t, const void*>;

absl::StatusOr<Key> KeyOf(const void* type, const Fd& file) {
  struct stat info;
  if (fstat(file.get(), &info) != 0) return ErrnoStatus(errno, "fstat");
  return Key(info.st_dev, info.st_ino, type);
}

// The objects of this process.
class Registry {
 public:
  static Registry& Get() {
    static auto& registry = *new Registry();
    return registry;
  }

  using Object = std::shared_ptr<const CommonObject>;

  // Returns the object of that key if there is one.
  Object Find(const Key& key) ABSL_LOCKS_EXCLUDED(mutex_) {
    ForkSafeLock lock(mutex_);
    const auto found = objects_.find(key);
    return found == objects_.end() ? nullptr : found->second.lock();
  }

  Object Add(const Key& key, Object object) ABSL_LOCKS_EXCLUDED(mutex_) {
    ForkSafeLock lock(mutex_);
    std::erase_if(objects_,
                  [](const auto& entry) { return entry.second.expired(); });
    auto& known = objects_[key];
    if (Object other = known.lock(); other != nullptr) return other;
    known = object;
    return object;
  }

  // Keeps it until others have been kept that came later.
  void Keep(const Object& object) ABSL_LOCKS_EXCLUDED(mutex_) {
    Object dropped;  // outside of the lock, as it may be large
    ForkSafeLock lock(mutex_);
    if (std::find(kept_.begin(), kept_.end(), object) != kept_.end()) return;
    kept_.push_back(object);
    if (kept_.size() <= kMaxKept) return;
    dropped = std::move(kept_.front());
    kept_.pop_front();
  }

 private:
  Registry() { HoldAcrossForks(mutex_); }

  ForkSafeMutex mutex_;
  std::map<Key, std::weak_ptr<const CommonObject>> objects_
      ABSL_GUARDED_BY(mutex_);
  std::deque<Object> kept_ ABSL_GUARDED_BY(mutex_);
};

// Those of a message, which are told by their places after the first time.
struct Seen {
  std::vector<std::shared_ptr<const CommonObject>> objects;
};

absl::StatusOr<std::shared_ptr<const CommonObject>> FindOrMake(const void* type,
                                                               MakeCommon make,
                                                               Fd file) {
  MP_ASSIGN_OR_RETURN(const Key key, KeyOf(type, file));
  auto object = Registry::Get().Find(key);
  if (object != nullptr) return object;
  MP_ASSIGN_OR_RETURN(
      std::string bytes,
      ReadSealedMemfd(file, std::numeric_limits<ptrdiff_t>::max()));
  MP_ASSIGN_OR_RETURN(object,
                      make(std::move(file), Parcel{std::move(bytes), {}}));
  object = Registry::Get().Add(key, std::move(object));
  Registry::Get().Keep(object);
  return object;
}

}  // namespace

absl::StatusOr<Fd> WriteCommonFile(Parcel parcel) {
  if (!parcel.handles.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "CommonData::Create: the value has ", parcel.handles.size(),
        " descriptors, which a file cannot hold; bind it with mp::Bind(), or "
        "send it as an argument"));
  }
  return CreateSealedMemfd("mp_common_data", parcel.bytes);
}

std::shared_ptr<const CommonObject> RegisterCommon(
    const void* type, std::shared_ptr<const CommonObject> object) {
  const absl::StatusOr<Key> key = KeyOf(type, object->file);
  return key.ok() ? Registry::Get().Add(*key, std::move(object)) : object;
}

void EncodeCommon(const std::shared_ptr<const CommonObject>& object,
                  Encoder& encoder) {
  if (object == nullptr) {
    return encoder.Fail(absl::FailedPreconditionError(
        "an empty CommonData cannot travel; it comes from Create()"));
  }
  auto& seen = encoder.per_message().Get<Seen>().objects;
  const auto found = std::find(seen.begin(), seen.end(), object);
  encoder.WriteCount(static_cast<uint64_t>(found - seen.begin()));
  if (found != seen.end()) return;
  seen.push_back(object);
  encoder.WriteHandle(object->file.get());
}

absl::StatusOr<std::shared_ptr<const CommonObject>> DecodeCommon(
    const void* type, MakeCommon make, Decoder& decoder) {
  auto& seen = decoder.per_message().Get<Seen>().objects;
  MP_ASSIGN_OR_RETURN(const uint64_t place, decoder.ReadNumber());
  if (place > seen.size()) {
    return absl::DataLossError(absl::StrCat(
        "CommonData: number ", place, " of ", seen.size(), " in a message"));
  }
  if (place == seen.size()) {
    MP_ASSIGN_OR_RETURN(Fd file, decoder.ReadHandle());
    MP_ASSIGN_OR_RETURN(auto object, FindOrMake(type, make, std::move(file)));
    seen.push_back(std::move(object));
    return seen.back();
  }
  // It may have been one of another type.
  MP_ASSIGN_OR_RETURN(Fd file, seen[place]->file.Dup());
  return FindOrMake(type, make, std::move(file));
}

}  // namespace mp::internal
