#ifndef MP_IPC_QUEUE_H_
#define MP_IPC_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_codec.h"
#include "mp/ipc/internal/queue_core.h"
#include "mp/ipc/internal/queue_handle.h"
#include "mp/ipc/internal/type_fingerprint.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/log.h"
#include "mp/process/parcel.h"
#include "mp/process/travel.h"

namespace mp {

// A queue of values between processes: any number put, any number get, and
// each value goes to one of them.
//
// Example:
//   absl::Status Work(mp::Queue<std::string> names, mp::Queue<int> lengths) {
//     while (true) {
//       const absl::StatusOr<std::string> name = names.Get();
//       if (absl::IsOutOfRange(name.status())) return absl::OkStatus();
//       MP_RETURN_IF_ERROR(name.status());
//       MP_RETURN_IF_ERROR(lengths.Put(name->size()));
//     }
//   }
//
//   MP_ASSIGN_OR_RETURN(auto names, mp::Queue<std::string>::Create());
//   MP_ASSIGN_OR_RETURN(auto lengths, mp::Queue<int>::Create());
//   mp::Process p(Work, names, lengths);
//   MP_RETURN_IF_ERROR(p.Start());
//   MP_RETURN_IF_ERROR(names.Put("bob"));
//   MP_ASSIGN_OR_RETURN(int length, lengths.Get());
//   MP_RETURN_IF_ERROR(names.Shutdown());  // Work() ends
//
// When Put() has returned, the value is in memory that all of them share. No
// thread is to bring it there, so CPython's join_thread() and
// cancel_join_thread() have no counterpart: a process may end, or be killed,
// right after its Put(), and nothing is lost or waited for.
//
// First in, first out, across processes: a value whose Put() had returned when
// another Put() began comes out before that one's. (With kPerProducer that
// holds for the values of one process.)
//
// Shape:   values of any type that travels; see serializer.h. Strings, numbers,
//          vectors of numbers and structs with MP_FIELDS of numbers without
//          gaps are copied as they are; others are encoded. Memory grows with
//          what is in the queue, and goes back when that has been taken.
// Units:   sizes in messages; bytes where it says so. An infinite timeout
//          waits, a zero or negative one only tries. Signals do not end a wait.
// Owns:    a handle. The memory, and what is in it, goes with the last handle
//          of any process.
// Threads: safe from any. Close() and assignment are for one thread alone.
// Fork:    travels to any process, as an argument or in a message, also of
//          another queue or of this one. A forked child has its parent's.
// Death:   a process killed in Put() leaves nothing or the whole value behind;
//          one killed in Get() loses at most the value that it was taking. The
//          others go on. A Get() on an empty queue waits, even if everybody who
//          might have put something has ended: other threads of this process may
//          put as well, and so may a process that a handle is only on its way
//          to. A program that knows better sets `alone_is_unavailable`; one that
//          waits for a certain process looks at that process, too.
// Source:  CPython multiprocessing.Queue. Differs: no feeder thread, so a value
//          that cannot be encoded is an error of Put(), and later changes to an
//          object are never seen; Shutdown() as queue.Queue's since 3.13.
template <typename T>
class Queue {
 public:
  using Options = QueueOptions;

  // Room in the queue for a value that is bytes, to write it in place. It holds
  // up all others that put, and is dropped unless committed.
  class Reservation {
   public:
    // As many bytes as were asked for, of any content.
    absl::Span<char> bytes() { return reservation_.bytes(); }

    // Puts them, or the first `used` of them.
    //
    // Errors:
    //   kInvalidArgument     `used` is more than there are.
    //   kFailedPrecondition  committed before.
    absl::Status Commit() { return reservation_.Commit(0, bytes().size()); }
    absl::Status Commit(size_t used) { return reservation_.Commit(0, used); }

   private:
    friend class Queue;
    Reservation(internal::QueueHandle handle,
                internal::QueueCore::Reservation reservation)
        : handle_(std::move(handle)), reservation_(std::move(reservation)) {}

    internal::QueueHandle handle_;  // outlives what it has reserved
    internal::QueueCore::Reservation reservation_;
  };

  // Makes an empty queue.
  //
  // Errors:
  //   kInvalidArgument    options that cannot be.
  //   kResourceExhausted  no memory or descriptors left.
  // Source: CPython Queue(maxsize).
  static absl::StatusOr<Queue> Create(const Options& options = {}) {
    MP_ASSIGN_OR_RETURN(auto handle,
                        internal::QueueHandle::Create(options, !kFlat));
    return Queue(std::move(handle));
  }

  // A closed handle.
  Queue() = default;

  // Puts a value at the end, and waits while the queue is full. Something that
  // only moves, such as a Connection, stays open here until it is closed.
  //
  // Errors:
  //   kDeadlineExceeded    still full; the queue is unchanged.
  //   kFailedPrecondition  this handle is closed, or the queue is shut down.
  //   kInvalidArgument     it can never be put: larger than `max_bytes`, or the
  //                        value refuses to travel.
  //   kResourceExhausted   no memory, or no descriptors, left for it.
  //   kDataLoss            the queue's memory is damaged.
  // Source: CPython Queue.put(), which raises Full and ValueError.
  absl::Status Put(const T& value,
                   absl::Duration timeout = absl::InfiniteDuration()) const {
    MP_RETURN_IF_ERROR(handle_.CheckOpen("Queue::Put"));
    const Deadline deadline(timeout);
    if constexpr (kFlat) {
      const absl::string_view bytes = internal::FlatBytes(value);
      return core().Put(absl::MakeConstSpan(&bytes, 1), 0, deadline);
    } else {
      MP_ASSIGN_OR_RETURN(const Parcel parcel, ToParcel(value));
      return handle_.PutParcel(parcel, deadline);
    }
  }

  // The same without waiting. Full is kDeadlineExceeded.
  //
  // Source: CPython Queue.put_nowait().
  absl::Status PutNowait(const T& value) const {
    return Put(value, absl::ZeroDuration());
  }

  // Puts values in their order, faster than one by one, and returns how many.
  // These are all, unless the time was over before the others fitted.
  //
  // Errors: those of Put(), if the first value was not put.
  absl::StatusOr<size_t> PutAll(
      absl::Span<const T> values,
      absl::Duration timeout = absl::InfiniteDuration()) const;

  // Takes the value at the front, and waits while there is none.
  //
  // Errors:
  //   kDeadlineExceeded    still empty.
  //   kOutOfRange          shut down, and empty: there will be none.
  //   kFailedPrecondition  this handle is closed.
  //   kUnavailable         `alone_is_unavailable`, and nobody else has it.
  //   kDataLoss            the message is no T. It is gone, and the next one
  //                        can be taken. Or the queue's memory is damaged.
  //   kResourceExhausted   the value has descriptors, and this process has no
  //                        room for them. Up to 253 stay, with the value; more
  //                        are gone.
  // and whatever the T says that cannot arrive here.
  // Source: CPython Queue.get(), which raises Empty and ValueError.
  ReadResult<T> Get(absl::Duration timeout = absl::InfiniteDuration()) const;

  // The same without waiting. Empty is kDeadlineExceeded.
  //
  // Source: CPython Queue.get_nowait().
  ReadResult<T> GetNowait() const { return Get(absl::ZeroDuration()); }

  // The same, but into a value that is there, whose memory is used again. With
  // large strings and vectors that is much faster.
  absl::Status GetInto(T& value,
                       absl::Duration timeout = absl::InfiniteDuration()) const;

  // Takes up to `max` values, and waits only for the first. One behind it that
  // cannot be decoded is left out, and logged as a warning.
  //
  // Errors: those of Get(), if there is no value.
  absl::StatusOr<std::vector<T>> GetUpTo(
      size_t max, absl::Duration timeout = absl::InfiniteDuration()) const;

  // Waits for room for so many bytes, to be written in place.
  //
  // Errors: those of Put().
  absl::StatusOr<Reservation> Reserve(
      size_t size_bytes, absl::Duration timeout = absl::InfiniteDuration())
      const requires internal::ByteRun<T> {
    MP_RETURN_IF_ERROR(handle_.CheckOpen("Queue::Reserve"));
    MP_ASSIGN_OR_RETURN(auto reservation,
                        core().Reserve(size_bytes, Deadline(timeout)));
    return Reservation(handle_, std::move(reservation));
  }

  // How it is at this moment; others may change it at once. A closed handle's
  // queue is empty.
  //
  // Source: CPython Queue.qsize(), empty() and full().
  size_t Size() const { return closed() ? 0 : core().Size(); }
  bool Empty() const { return closed() || core().Empty(); }
  bool Full() const { return !closed() && core().Full(); }

  // Ends the queue, for all processes: nobody can put any more, and when it is
  // empty, Get() is kOutOfRange. `immediate` empties it, too. Whoever waits is
  // told. May be called again.
  //
  // Errors:
  //   kFailedPrecondition  this handle is closed.
  // Source: CPython 3.13 queue.Queue.shutdown(immediate).
  absl::Status Shutdown(bool immediate = false) const {
    MP_RETURN_IF_ERROR(handle_.CheckOpen("Queue::Shutdown"));
    core().Shutdown(immediate);
    return absl::OkStatus();
  }
  bool is_shut_down() const { return !closed() && core().is_shut_down(); }

  // Closes this handle: it can neither put nor get any more. Others, and what
  // is in the queue, are not concerned. May be called again.
  //
  // Source: CPython Queue.close(). There, it is the process that is done.
  void Close() { handle_ = {}; }
  bool closed() const { return handle_.closed(); }

  // A descriptor to poll, as mp::Wait() does; -1 if closed or there is none
  // left. It stays owned. If it is readable there may be something to get, and
  // if it is not, there was nothing at some moment; ask IsReadable() now and
  // then, as mp::Wait() does, for the case that a process was killed in Get().
  int fileno() const { return closed() ? -1 : core().fileno(); }

  // Whether Get() would not wait.
  bool IsReadable() const {
    return !closed() && (!core().Empty() || core().is_shut_down());
  }

  // Whether both are handles of the same origin in this process.
  friend bool operator==(const Queue&, const Queue&) = default;

 protected:
  // What needs no Encoder, and has no descriptors.
  static constexpr bool kFlat = internal::FlatMessage<T>;

  explicit Queue(internal::QueueHandle handle) : handle_(std::move(handle)) {}

  const internal::QueueHandle& handle() const { return handle_; }

 private:
  friend struct Serializer<Queue<T>>;
  static_assert(std::is_same_v<T, std::remove_cvref_t<T>>,
                "mp: a queue holds values, not references or constants");

  internal::QueueCore& core() const { return handle_.core(); }

  static absl::StatusOr<Parcel> ToParcel(const T& value) {
    Encoder encoder;
    encoder.Write(value);
    return std::move(encoder).Finish();
  }

  static ReadResult<T> FromParcel(Parcel parcel) {
    Decoder decoder(std::move(parcel));
    ReadResult<T> value = decoder.Read<T>();
    if (value.ok()) MP_RETURN_IF_ERROR(decoder.ExpectEnd());
    return value;
  }

  internal::QueueHandle handle_;
};

// The receiver gets a handle of its own for the same queue.
//
// Errors of receiving:
//   kInvalidArgument  it is a queue of another type.
//   kDataLoss         it is no queue, or one of another version of mp.
template <typename T>
struct Serializer<Queue<T>> {
  static void Encode(const Queue<T>& queue, Encoder& encoder) {
    queue.handle_.Encode(internal::TypeFingerprint<Queue<T>>(), encoder);
  }
  static absl::StatusOr<Queue<T>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(
        auto handle,
        internal::QueueHandle::Decode(internal::TypeFingerprint<Queue<T>>(),
                                      internal::TypeName<Queue<T>>(), decoder));
    return Queue<T>(std::move(handle));
  }
};

template <typename T>
absl::StatusOr<size_t> Queue<T>::PutAll(absl::Span<const T> values,
                                        absl::Duration timeout) const {
  MP_RETURN_IF_ERROR(handle_.CheckOpen("Queue::PutAll"));
  const Deadline deadline(timeout);
  if constexpr (kFlat) {
    std::vector<absl::string_view> messages;
    messages.reserve(values.size());
    for (const T& value : values) {
      messages.push_back(internal::FlatBytes(value));
    }
    return core().PutBatch(messages, deadline);
  } else {
    size_t put = 0;
    for (const T& value : values) {
      const absl::Status status = Put(value, deadline.Remaining());
      if (!status.ok() && put == 0) return status;
      if (!status.ok()) break;
      ++put;
    }
    return put;
  }
}

template <typename T>
ReadResult<T> Queue<T>::Get(absl::Duration timeout) const {
  MP_RETURN_IF_ERROR(handle_.CheckOpen("Queue::Get"));
  if constexpr (kFlat) {
    absl::StatusOr<T> value(absl::in_place);
    MP_RETURN_IF_ERROR(GetInto(*value, timeout));
    return value;
  } else {
    MP_ASSIGN_OR_RETURN(Parcel parcel, handle_.GetParcel(Deadline(timeout)));
    return FromParcel(std::move(parcel));
  }
}

template <typename T>
absl::Status Queue<T>::GetInto(T& value, absl::Duration timeout) const {
  MP_RETURN_IF_ERROR(handle_.CheckOpen("Queue::Get"));
  if constexpr (kFlat) {
    absl::Status read;
    MP_RETURN_IF_ERROR(
        core().Get(Deadline(timeout), [&](absl::string_view bytes, uint32_t) {
          read = internal::ReadFlat(bytes, value);
          return absl::OkStatus();  // taken, whatever it is
        }));
    return read;
  } else {
    ReadResult<T> got = Get(timeout);
    MP_RETURN_IF_ERROR(got.status());
    value = *std::move(got);
    return absl::OkStatus();
  }
}

template <typename T>
absl::StatusOr<std::vector<T>> Queue<T>::GetUpTo(size_t max,
                                                 absl::Duration timeout) const {
  MP_RETURN_IF_ERROR(handle_.CheckOpen("Queue::GetUpTo"));
  std::vector<T> values;
  absl::Status bad;
  const auto keep = [&](ReadResult<T> value) {
    if (value.ok()) {
      values.push_back(*std::move(value));
    } else if (values.empty()) {
      bad = value.status();
    } else {
      GetLogger().Log(LogLevel::kWarning,
                      "left out a value: ", value.status().ToString());
    }
  };
  const Deadline deadline(timeout);
  absl::Status status;
  if constexpr (kFlat) {
    status = core()
                 .GetBatch(max, deadline,
                           [&](absl::string_view bytes, uint32_t) {
                             absl::StatusOr<T> value(absl::in_place);
                             const absl::Status read =
                                 internal::ReadFlat(bytes, *value);
                             if (!read.ok()) value = read;
                             keep(std::move(value));
                             return absl::OkStatus();
                           })
                 .status();
  } else {
    while (values.size() < max && status.ok() && bad.ok()) {
      absl::StatusOr<Parcel> parcel = handle_.GetParcel(
          values.empty() ? deadline : Deadline(absl::ZeroDuration()));
      status = parcel.status();
      if (status.ok()) keep(FromParcel(*std::move(parcel)));
    }
  }
  if (!values.empty() || max == 0) return values;
  MP_RETURN_IF_ERROR(status);
  return bad;
}

}  // namespace mp

#endif  // MP_IPC_QUEUE_H_
