#ifndef MP_SHAREDMEM_VALUE_H_
#define MP_SHAREDMEM_VALUE_H_

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sharedmem/raw_value.h"
#include "mp/sharedmem/synchronized.h"
#include "mp/sync/rlock.h"

namespace mp {

// A T that several processes have at once, with a lock.
//
// Example:
//   void Count(mp::Value<int> total) {
//     MP_CHECK_OK(total.With([](int& n) { ++n; }));
//   }
//
//   MP_ASSIGN_OR_RETURN(auto total, mp::Value<int>::Create(0));
//   mp::Process p(Count, total);
//   ...
//   MP_ASSIGN_OR_RETURN(int n, total.Get());
//
//   MP_ASSIGN_OR_RETURN(auto where, mp::Value<Point>::Create(1, 2));
//   MP_RETURN_IF_ERROR(where.Field(&Point::x).Set(3));
//
// Each call takes the lock for itself; what has to happen at once goes into one
// With(), or between Acquire() and Release(). Without a lock: RawValue.
//
// Shape:   a trivially copyable T.
// Owns, Threads, Fork, Death: as Synchronized.
// Source:  CPython multiprocessing.Value(). Differs: there is With(), which
//          makes `value += 1` one step.
template <typename T, typename L = RLock>
class Value : public Synchronized<RawValue<T>, L> {
  using Base = Synchronized<RawValue<T>, L>;

 public:
  // An empty handle, of which every use is kFailedPrecondition.
  Value() = default;

  // Makes a T of `args`, with a lock of its own.
  //
  // Errors:
  //   kResourceExhausted  no memory or descriptors left.
  template <typename... Args>
  static absl::StatusOr<Value> Create(Args&&... args) {
    MP_ASSIGN_OR_RETURN(L lock, L::Create());
    return CreateWith(std::move(lock), std::forward<Args>(args)...);
  }

  // The same with a lock that guards other things as well.
  template <typename... Args>
  static absl::StatusOr<Value> CreateWith(L lock, Args&&... args) {
    MP_ASSIGN_OR_RETURN(auto raw,
                        RawValue<T>::Create(std::forward<Args>(args)...));
    return Value(std::move(raw), std::move(lock));
  }

  explicit Value(RawValue<T> raw, L lock)
      : Base(std::move(raw), std::move(lock)) {}

  // Errors: those of the lock's Acquire().
  absl::StatusOr<T> Get() const {
    return With([](const T& value) { return value; });
  }
  absl::Status Set(const T& value) {
    return With([&](T& mine) { mine = value; });
  }

  // What Get() gives; ends the process with a message where that is an error.
  T value() const {
    absl::StatusOr<T> value = Get();
    MP_CHECK_OK(value);
    return *std::move(value);
  }

  // Calls `f` with the T while it is locked, and returns what it returns, in a
  // StatusOr unless that is a status.
  //
  // Errors: those of the lock's Acquire() and of `f`.
  // What is const shows a const T.
  template <typename F>
  auto With(F&& f) {
    return this->Locked(
        [&]() { return std::invoke(std::forward<F>(f), *this->get_obj()); });
  }
  template <typename F>
  auto With(F&& f) const {
    return this->Locked([&]() {
      return std::invoke(std::forward<F>(f), std::as_const(*this->get_obj()));
    });
  }

  // One of the members of T, each access of which takes the lock. That of a
  // const V cannot be set.
  template <typename M, typename C, typename V>
  class FieldOf {
   public:
    FieldOf(V& value, M C::*member) : value_(value), member_(member) {}
    absl::StatusOr<M> Get() const {
      return value_.With([&](const T& all) { return all.*member_; });
    }
    absl::Status Set(const M& field) const {
      return value_.With([&](T& all) { all.*member_ = field; });
    }

   private:
    V& value_;
    M C::*const member_;
  };
  template <typename M, typename C>
  FieldOf<M, C, Value> Field(M C::*member) {
    return {*this, member};
  }
  template <typename M, typename C>
  FieldOf<M, C, const Value> Field(M C::*member) const {
    return {*this, member};
  }

  // Makes another one with the same contents and a lock of its own.
  //
  // Source: CPython multiprocessing.sharedctypes.copy().
  absl::StatusOr<Value> Copy() const {
    MP_ASSIGN_OR_RETURN(const T value, Get());
    return Create(value);
  }
};

template <typename T, typename L>
struct Serializer<Value<T, L>> {
  static void Encode(const Value<T, L>& value, Encoder& encoder) {
    encoder.Write(value.get_obj());
    encoder.Write(value.get_lock());
  }
  static absl::StatusOr<Value<T, L>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto raw, decoder.Read<RawValue<T>>());
    MP_ASSIGN_OR_RETURN(L lock, decoder.Read<L>());
    return Value<T, L>(std::move(raw), std::move(lock));
  }
};

}  // namespace mp

#endif  // MP_SHAREDMEM_VALUE_H_
