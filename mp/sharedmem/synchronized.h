#ifndef MP_SHAREDMEM_SYNCHRONIZED_H_
#define MP_SHAREDMEM_SYNCHRONIZED_H_

#include <functional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sync/rlock.h"

namespace mp {

// A shared object with the lock that guards it: what Value and Array are.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto raw, RawValue<Account>::Create());
//   MP_ASSIGN_OR_RETURN(RLock lock, RLock::Create());
//   Synchronized<RawValue<Account>> account(raw, lock);
//
//   MP_RETURN_IF_ERROR(account.Acquire());  // or std::scoped_lock
//   account.get_obj()->balance += 5;
//   MP_RETURN_IF_ERROR(account.Release());
//
// Shape:   `Object` is a RawValue or RawArray, or another handle that travels;
//          `L` is an RLock or a Lock.
// Owns:    a count of both.
// Threads: safe by means of the lock.
// Fork:    travels to any process, as an argument or in a message.
// Death:   if a process ends while it holds the lock, the object may be half
//          changed: all others get kAborted until one has repaired it, by
//          get_lock().AcquireAbandoned() and MarkRepaired().
// Source:  CPython multiprocessing.sharedctypes.synchronized().
template <typename Object, typename L = RLock>
class Synchronized {
 public:
  // An empty handle.
  Synchronized() = default;
  explicit Synchronized(Object object, L lock)
      : object_(std::move(object)), lock_(std::move(lock)) {}

  // The object without its lock, for one who holds that.
  const Object& get_obj() const { return object_; }
  L& get_lock() { return lock_; }
  const L& get_lock() const { return lock_; }

  // Errors: those of the lock.
  absl::Status Acquire(
      absl::Duration timeout = absl::InfiniteDuration()) const {
    return lock_.Acquire(timeout);
  }
  absl::Status Release() const { return lock_.Release(); }

  // As the lock's own, for std::scoped_lock.
  void lock() const { lock_.lock(); }
  void unlock() const { lock_.unlock(); }
  bool try_lock() const { return lock_.try_lock(); }

  friend bool operator==(const Synchronized&, const Synchronized&) = default;

 protected:
  // Calls `f` under the lock, and returns what it returns in a StatusOr, or a
  // status.
  //
  // Errors: those of the lock's Acquire() and of `f`.
  template <typename F>
  auto Locked(F&& f) const {
    using Result = std::invoke_result_t<F>;
    constexpr bool kStatus =
        std::is_void_v<Result> || std::is_same_v<Result, absl::Status>;
    using Answer =
        typename std::conditional_t<kStatus, IsStatus, IsValue<Result>>::Type;
    return LockedAs<Answer>(std::forward<F>(f));
  }

 private:
  struct IsStatus {
    using Type = absl::Status;
  };
  template <typename Result>
  struct IsValue {
    using Type = absl::StatusOr<Result>;
  };
  template <typename T>
  struct IsValue<absl::StatusOr<T>> {
    using Type = absl::StatusOr<T>;
  };

  template <typename Answer, typename F>
  Answer LockedAs(F&& f) const {
    MP_RETURN_IF_ERROR(lock_.Acquire());
    const Holder holder{lock_};
    if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
      std::invoke(std::forward<F>(f));
      return absl::OkStatus();
    } else {
      return std::invoke(std::forward<F>(f));
    }
  }

  // Releases it also if `f` throws.
  struct Holder {
    ~Holder() { lock.Release().IgnoreError(); }
    L& lock;
  };

  Object object_;
  // A const object is still guarded.
  mutable L lock_;
};

template <typename Object, typename L>
struct Serializer<Synchronized<Object, L>> {
  static void Encode(const Synchronized<Object, L>& object, Encoder& encoder) {
    encoder.Write(object.get_obj());
    encoder.Write(object.get_lock());
  }
  static absl::StatusOr<Synchronized<Object, L>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(Object object, decoder.Read<Object>());
    MP_ASSIGN_OR_RETURN(L lock, decoder.Read<L>());
    return Synchronized<Object, L>(std::move(object), std::move(lock));
  }
};

}  // namespace mp

#endif  // MP_SHAREDMEM_SYNCHRONIZED_H_
