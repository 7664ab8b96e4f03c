#ifndef MP_POOL_COMMON_DATA_H_
#define MP_POOL_COMMON_DATA_H_

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/common_bytes.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"
#include "mp/process/travel.h"

namespace mp {

// A value that all tasks read and none changes: a dictionary, a model, a matrix.
// However many tasks there are, each worker gets it once.
//
// Example:
//   int Rank(const mp::CommonData<Dictionary>& words, const std::string& word) {
//     return words->RankOf(word);
//   }
//
//   MP_ASSIGN_OR_RETURN(auto words, mp::CommonData<Dictionary>::Create(
//                                       Dictionary::Load("words.txt")));
//   auto ranks = pool.Map(mp::Bind(Rank, words), texts);
//
// What travels is a descriptor of one file in memory with the encoded value,
// which nobody can change any more. The first task of a worker that is told of
// it decodes the value; later ones, of other calls too, find it there. Threads,
// and workers that are forked while there is a handle, decode nothing.
//
// Shape:   a T that travels and holds no descriptors.
// Units:   memory: the encoded bytes once for all, and a T in each process.
// Owns:    a handle: copies show the same T. It goes with the last of them, and
//          a worker keeps up to 8 that it was told of last.
// Threads: handles are values; the T is const.
// Fork:    travels to any process, as an argument, bound, or in a message.
// Death:   of no concern: nothing of it is ever written to.
// Source:  CPython Pool(initializer=, initargs=) with a global variable.
//          Differs: can be made after the pool, and for one call.
template <typename T>
class CommonData {
 public:
  // An empty handle.
  CommonData() = default;

  // Errors:
  //   kInvalidArgument    the value holds descriptors.
  //   kResourceExhausted  no memory or no descriptor left.
  //   and those of encoding a T.
  static absl::StatusOr<CommonData> Create(T value) {
    Encoder encoder;
    encoder.Write(value);
    MP_ASSIGN_OR_RETURN(Parcel parcel, std::move(encoder).Finish());
    const size_t size = parcel.bytes.size();
    MP_ASSIGN_OR_RETURN(Fd file, internal::WriteCommonFile(std::move(parcel)));
    return CommonData(internal::RegisterCommon(
        &kType,
        std::make_shared<Object>(std::move(file), size, std::move(value))));
  }

  // The T itself; null in an empty handle.
  const T* get() const {
    if (object_ == nullptr) return nullptr;
    return &static_cast<const Object*>(object_.get())->value;
  }
  const T& operator*() const { return *get(); }
  const T* operator->() const { return get(); }
  explicit operator bool() const { return get() != nullptr; }

  // Of the encoded value; 0 for an empty handle.
  size_t size_bytes() const {
    return object_ == nullptr ? 0 : object_->size_bytes;
  }

 private:
  friend struct Serializer<CommonData>;

  struct Object final : internal::CommonObject {
    Object(Fd f, size_t bytes, T v)
        : CommonObject(std::move(f), bytes), value(std::move(v)) {}
    const T value;
  };

  explicit CommonData(std::shared_ptr<const internal::CommonObject> object)
      : object_(std::move(object)) {}

  static absl::StatusOr<std::shared_ptr<const internal::CommonObject>> Make(
      Fd file, Parcel parcel) {
    const size_t size = parcel.bytes.size();
    Decoder decoder(std::move(parcel));
    MP_ASSIGN_OR_RETURN(T value, decoder.Read<T>());
    MP_RETURN_IF_ERROR(decoder.ExpectEnd());
    return std::make_shared<Object>(std::move(file), size, std::move(value));
  }

  // Its address stands for T: an object is only ever taken for what it is.
  static inline char kType = 0;

  std::shared_ptr<const internal::CommonObject> object_;
};

template <typename T>
struct Serializer<CommonData<T>> {
  static void Encode(const CommonData<T>& data, Encoder& encoder) {
    internal::EncodeCommon(data.object_, encoder);
  }
  static absl::StatusOr<CommonData<T>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto object,
                        internal::DecodeCommon(&CommonData<T>::kType,
                                               &CommonData<T>::Make, decoder));
    return CommonData<T>(std::move(object));
  }
};

}  // namespace mp

#endif  // MP_POOL_COMMON_DATA_H_
