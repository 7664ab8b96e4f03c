#include "mp/ipc/internal/queue_core.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/members.h"
#include "mp/base/parking.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_get_side.h"
#include "mp/ipc/internal/queue_layout.h"
#include "mp/ipc/internal/queue_lock.h"
#include "mp/ipc/internal/queue_memory.h"
#include "mp/ipc/internal/queue_put_side.h"
#include "mp/ipc/internal/queue_tasks.h"

namespace mp::internal {
namespace {

// How many messages of a batch others are shown at once.
constexpr size_t kBatch = 64;

absl::Status CheckFlags(uint32_t flags) {
  if (flags <= 0xFF) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("Queue::Put: flags ", flags, ", they have 8 bits"));
}

absl::Status CheckOptions(const QueueOptions& options) {
  if (options.order == QueueOrder::kFifo ||
      options.order == QueueOrder::kPerProducer) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("Queue::Create: there is no order ",
                   static_cast<uint32_t>(options.order)));
}

absl::Status ShutDown() {
  return absl::FailedPreconditionError("Queue::Put: the queue is shut down");
}

}  // namespace

// All that a queue is made of.
class QueueSides {
 public:
  QueueSides(std::unique_ptr<QueueMemory> memory,
             std::unique_ptr<Members> members, const QueueOptions& options,
             Fd event)
      : memory_(std::move(memory)),
        members_(std::move(members)),
        event_(std::move(event)),
        alone_is_unavailable_(options.alone_is_unavailable),
        maxsize_(options.maxsize),
        max_bytes_(options.max_bytes),
        put_lock_(head().put.lock, *members_, "Queue's put lock"),
        get_lock_(head().get.lock, *members_, "Queue's get lock"),
        put_(*memory_, options.maxsize, options.max_bytes),
        get_(*memory_),
        tasks_(head(), *members_) {}

  QueueHead& head() const { return memory_->head(); }
  const QueueMemory& memory() const { return *memory_; }
  Members& members() { return *members_; }
  int event_fd() const { return event_.get(); }
  QueueDoneTasks& tasks() { return tasks_; }
  QueueLock& put_lock() { return put_lock_; }
  QueuePutSide& put() { return put_; }

  // Acquires the put lock, and makes room for a message of `size` bytes.
  absl::Status BeginPut(PutCursor& cursor, uint64_t size,
                        const Deadline& deadline);
  void EndPut(PutCursor& cursor, uint64_t messages);
  void GiveUpPut(const PutCursor& cursor);

  absl::StatusOr<size_t> Get(size_t max, const Deadline& deadline,
                             QueueCore::Take take);
  bool HasMessage() const {
    return head().put.count.load(std::memory_order_acquire) >> 1 !=
           head().get.count.load(std::memory_order_acquire) >> 1;
  }
  uint64_t Size() const {
    return (head().put.count.load() >> 1) - (head().get.count.load() >> 1);
  }
  bool IsFull() const;
  QueueEnd end() const { return head().end.load(); }
  void ShutDownNow(bool immediate);
  absl::Status JoinTasks(const Deadline& deadline);
  int StartWatching();

 private:
  absl::Status AcquirePut(const Deadline& deadline) {
    return put_lock_.Acquire(deadline, [this] { put_.Sweep(); });
  }
  absl::Status AcquireGet(const Deadline& deadline) {
    return get_lock_.Acquire(deadline, [this] { get_.Repair(); });
  }
  absl::Status AwaitRoom(uint64_t seen, const Deadline& deadline);
  absl::Status AwaitMessage(const Deadline& deadline);
  absl::Status TakeSome(size_t max, const Deadline& deadline,
                        QueueCore::Take take, size_t& taken);
  void LookForMessage();
  absl::Status CheckOver(const Deadline& deadline);
  absl::Status CheckCompany();
  void IsDrained(GetCursor& cursor);
  void GiveBackMemory(GetCursor& cursor);
  void Signal();
  void Drop();

  const std::unique_ptr<QueueMemory> memory_;
  const std::unique_ptr<Members> members_;
  const Fd event_;
  const bool alone_is_unavailable_;
  const uint64_t maxsize_;
  const uint64_t max_bytes_;
  QueueLock put_lock_;
  QueueLock get_lock_;
  QueuePutSide put_;
  QueueGetSide get_;
  QueueDoneTasks tasks_;
  Pace message_pace_;
};

// ---- Put

absl::Status QueueSides::BeginPut(PutCursor& cursor, uint64_t size,
                                  const Deadline& deadline) {
  while (true) {
    absl::Status status = AcquirePut(deadline);
    if (!status.ok()) [[unlikely]]
      return status;
    QueueLockHolder holder(put_lock_);
    if (end() != QueueEnd::kNot) [[unlikely]]
      return ShutDown();
    status = put_.Load(cursor);
    if (!status.ok()) [[unlikely]]
      return status;
    bool fits = false;
    status = put_.MakeRoom(cursor, size, fits);
    if (!status.ok()) [[unlikely]]
      return status;
    if (fits) [[likely]] {
      holder.Keep();
      return status;
    }
    // Looks again, as the count that it waits for a change of is an older one.
    const uint64_t seen = head().get.count.load();
    MP_RETURN_IF_ERROR(put_.MakeRoom(cursor, size, fits));
    if (fits) {
      holder.Keep();
      return status;
    }
    holder.Release();
    MP_RETURN_IF_ERROR(AwaitRoom(seen, deadline));
  }
}

void QueueSides::EndPut(PutCursor& cursor, uint64_t messages) {
  put_.Publish(cursor);
  head().put_cpu.Set();
  put_lock_.Release();
  FenceBeforeWake();
  if (head().watched.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    Signal();
  }
  Wake(head().not_empty, static_cast<int>(std::min<uint64_t>(messages, 4096)));
}

// Nothing of it is published. It may have begun another segment.
void QueueSides::GiveUpPut(const PutCursor& cursor) {
  PutCursor before;
  if (put_.Load(before).ok() && before.segment != cursor.segment) put_.Sweep();
  put_lock_.Release();
}

absl::Status QueueSides::AwaitRoom(uint64_t seen, const Deadline& deadline) {
  const auto changed = [&] {
    return head().get.count.load(std::memory_order_acquire) != seen ||
           end() != QueueEnd::kNot;
  };
  if (!deadline.Expired() && Await(head().not_full, head().get_cpu, deadline,
                                   changed) != AwaitResult::kExpired) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "Queue::Put: full before the deadline, with ",
      (head().put.count.load() >> 1) - (head().get.count.load() >> 1),
      " messages"));
}

bool QueueSides::IsFull() const {
  const uint64_t taken = head().get.count.load() >> 1;
  const uint64_t published = head().put.count.load() >> 1;
  if (maxsize_ != 0 && published - taken >= maxsize_) return true;
  if (max_bytes_ == 0) return false;
  const auto get = put_.LookAtGetSide();
  const PutState& put = head().put.states[head().put.count.load() & 1];
  return get.has_value() && put.bytes.load() - get->bytes >= max_bytes_;
}

// ---- Get

absl::StatusOr<size_t> QueueSides::Get(size_t max, const Deadline& deadline,
                                       QueueCore::Take take) {
  size_t taken = 0;
  while (true) {
    absl::Status status = AcquireGet(deadline);
    if (!status.ok()) [[unlikely]]
      return status;
    status = TakeSome(max, deadline, take, taken);  // releases it
    if (taken > 0) [[likely]]
      return taken;
    if (!status.ok()) return status;
    MP_RETURN_IF_ERROR(AwaitMessage(deadline));
  }
}

absl::Status QueueSides::TakeSome(size_t max, const Deadline& deadline,
                                  QueueCore::Take take, size_t& taken) {
  QueueLockHolder holder(get_lock_);
  GetCursor cursor;
  absl::Status status = get_.Load(cursor);
  if (!status.ok()) [[unlikely]]
    return status;
  if (end() == QueueEnd::kDropped) [[unlikely]]
    return absl::OkStatus();
  const MemberId self = members_->self();
  bool more = false;
  status = get_.HasMessage(cursor, more);
  // With the lock, unless there are others who get.
  if (!more && get_.TookLast(cursor, self) && !deadline.Expired()) {
    LookForMessage();
  }
  while (true) {
    status = get_.HasMessage(cursor, more);
    if (!more || taken == max) break;
    status = get_.Find(cursor);
    if (!status.ok()) [[unlikely]]
      break;
    status = take(cursor.message, cursor.flags);
    if (!status.ok()) [[unlikely]]
      break;
    get_.Free(cursor, self);
    ++taken;
  }
  if (taken == 0) return status;
  head().get_cpu.Set();
  if (!more && (head().watched.load(std::memory_order_relaxed) != 0 ||
                cursor.memory.bytes > kKeptSegmentBytes)) [[unlikely]] {
    IsDrained(cursor);
  }
  holder.Release();
  FenceBeforeWake();
  // A message is room for one; bytes may be room for all.
  Wake(head().not_full, max_bytes_ != 0
                            ? INT_MAX
                            : static_cast<int>(std::min(taken, size_t{4096})));
  // Others may sleep through the wake that this one was given.
  if (more) Wake(head().not_empty, 1);
  return status;
}

// For a moment, without giving up the processor.
void QueueSides::LookForMessage() {
  if (head().put_cpu.IsHere()) return;
  message_pace_.LookAway();
  for (int i = 0; i < kLooks && !HasMessage(); ++i) Pause();
  message_pace_.Found(Size());
}

absl::Status QueueSides::AwaitMessage(const Deadline& deadline) {
  if (end() != QueueEnd::kNot) return CheckOver(deadline);
  if (!deadline.Expired()) {
    const AwaitResult result =
        Await(head().not_empty, head().put_cpu, deadline,
              [this] { return HasMessage() || end() != QueueEnd::kNot; });
    if (result == AwaitResult::kReady) return absl::OkStatus();
    if (result == AwaitResult::kLookAround) return CheckCompany();
  }
  return absl::DeadlineExceededError("Queue::Get: empty before the deadline");
}

// A Put() that began before the end may be about to publish.
absl::Status QueueSides::CheckOver(const Deadline& deadline) {
  if (end() != QueueEnd::kDropped && put_lock_.IsTaken()) {
    MP_RETURN_IF_ERROR(AcquirePut(deadline));
    put_lock_.Release();
  }
  if (end() != QueueEnd::kDropped && HasMessage()) return absl::OkStatus();
  return absl::OutOfRangeError("Queue::Get: the queue is shut down and empty");
}

absl::Status QueueSides::CheckCompany() {
  if (!alone_is_unavailable_) return absl::OkStatus();
  bool had_company = false;
  for (uint32_t i = 0; i < PlacesUsed(head().members); ++i) {
    const auto generation = static_cast<uint32_t>(
        head().members.entries[i].generation_and_pid.load() >> 32);
    const MemberId id = generation << MembersTable::kIndexBits | i;
    if (generation == 0 || id == members_->self()) continue;
    if (!members_->IsGone(id)) return absl::OkStatus();
    had_company = true;
  }
  if (!had_company || HasMessage()) return absl::OkStatus();
  return absl::UnavailableError(
      "Queue::Get: empty, and nobody else has the queue any more");
}

void QueueSides::IsDrained(GetCursor& cursor) {
  if (head().watched.load() != 0 && event_.is_open()) {
    uint64_t count;
    (void)!read(event_.get(), &count, sizeof(count));
    if (HasMessage() || end() != QueueEnd::kNot) Signal();
  }
  if (cursor.memory.bytes > kKeptSegmentBytes && put_lock_.TryAcquire()) {
    QueueLockHolder holder(put_lock_);
    if (!HasMessage()) GiveBackMemory(cursor);
  }
}

// Both sides go on in a small segment: first the put side, so that whoever is
// killed in between leaves a link to an empty one.
void QueueSides::GiveBackMemory(GetCursor& cursor) {
  if (!put_.StartSmall().ok()) return;
  PutCursor put;
  if (put_.Load(put).ok()) get_.Follow(cursor, put.segment);
}

// ---- Its end

void QueueSides::ShutDownNow(bool immediate) {
  QueueEnd seen = end();
  const QueueEnd wanted = immediate ? QueueEnd::kDropped : QueueEnd::kShutDown;
  while (seen < wanted && !head().end.compare_exchange_weak(seen, wanted)) {
  }
  if (immediate) Drop();
  WakeAll(head().not_empty);
  WakeAll(head().not_full);
  tasks_.WakeAll();
  if (head().watched.load() != 0) Signal();
}

// Counts them as taken, and done, by this process.
void QueueSides::Drop() {
  if (!AcquireGet(Deadline(absl::Seconds(1))).ok()) return;
  QueueLockHolder holder(get_lock_);
  GetCursor cursor;
  if (!get_.Load(cursor).ok()) return;
  uint64_t dropped = 0;
  bool more = false;
  while (get_.HasMessage(cursor, more).ok() && more && get_.Find(cursor).ok()) {
    get_.Free(cursor, members_->self());
    ++dropped;
  }
  if (cursor.memory.bytes > kKeptSegmentBytes) IsDrained(cursor);
  holder.Release();
  if (dropped > 0) (void)tasks_.Done(dropped);
}

absl::Status QueueSides::JoinTasks(const Deadline& deadline) {
  while (true) {
    if (!deadline.Expired()) tasks_.AwaitNone(deadline);
    // One that was killed as it took a message has not counted it.
    if (get_lock_.IsTaken() &&
        AcquireGet(Deadline(absl::ZeroDuration())).ok()) {
      get_lock_.Release();
    }
    const absl::Status lost = tasks_.LookForLost();
    if (!lost.ok() && !absl::IsDeadlineExceeded(lost)) return lost;
    const uint64_t left = tasks_.Unfinished();
    if (left == 0 && lost.ok()) return absl::OkStatus();
    if (deadline.Expired()) {
      return absl::DeadlineExceededError(absl::StrCat(
          "JoinableQueue::Join: ", left, " messages not done in time"));
    }
  }
}

// ---- The event

void QueueSides::Signal() {
  const uint64_t one = 1;
  if (event_.is_open()) (void)!write(event_.get(), &one, sizeof(one));
}

int QueueSides::StartWatching() {
  if (!event_.is_open()) return -1;
  if (head().watched.exchange(1) == 0 || HasMessage()) {
    if (HasMessage() || end() != QueueEnd::kNot) Signal();
  }
  return event_.get();
}

// ---- QueueCore

absl::StatusOr<std::shared_ptr<QueueCore>> QueueCore::Create(
    const QueueOptions& options) {
  MP_RETURN_IF_ERROR(CheckOptions(options));
  MP_ASSIGN_OR_RETURN(std::unique_ptr<QueueMemory> memory,
                      QueueMemory::Create());
  Fd event = Fd::AboveStdio(Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
  if (!event.is_open()) return ErrnoStatus(errno, "Queue: eventfd");
  QueueHead& head = memory->head();
  head.maxsize = options.maxsize;
  head.max_bytes = options.max_bytes;
  head.order = static_cast<uint32_t>(options.order);
  head.alone_is_unavailable = options.alone_is_unavailable ? 1 : 0;
  return Make(std::move(memory), options, std::move(event));
}

absl::StatusOr<std::shared_ptr<QueueCore>> QueueCore::Attach(Fd memory,
                                                             Fd event) {
  MP_ASSIGN_OR_RETURN(std::unique_ptr<QueueMemory> opened,
                      QueueMemory::Open(std::move(memory)));
  const QueueHead& head = opened->head();
  QueueOptions options;
  options.maxsize = head.maxsize;
  options.max_bytes = head.max_bytes;
  options.order = static_cast<QueueOrder>(head.order);
  options.alone_is_unavailable = head.alone_is_unavailable != 0;
  return Make(std::move(opened), options, std::move(event));
}

absl::StatusOr<std::shared_ptr<QueueCore>> QueueCore::Make(
    std::unique_ptr<QueueMemory> memory, const QueueOptions& options,
    Fd event) {
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Members> members,
                      Members::Attach(memory->fd(), memory->head().members));
  if (options.alone_is_unavailable) {
    MP_RETURN_IF_ERROR(members->Self().status());
  }
  auto sides = std::make_unique<QueueSides>(
      std::move(memory), std::move(members), options, std::move(event));
  return std::shared_ptr<QueueCore>(new QueueCore(options, std::move(sides)));
}

QueueCore::QueueCore(const QueueOptions& options,
                     std::unique_ptr<QueueSides> sides)
    : options_(options), sides_(std::move(sides)) {}

QueueCore::~QueueCore() = default;

int QueueCore::memory_fd() const { return sides_->memory().fd(); }
int QueueCore::event_fd() const { return sides_->event_fd(); }

absl::Status QueueCore::Put(absl::Span<const absl::string_view> pieces,
                            uint32_t flags, const Deadline& deadline) {
  if (flags > 0xFF) [[unlikely]]
    return CheckFlags(flags);
  uint64_t size = 0;
  for (const absl::string_view piece : pieces) size += piece.size();
  PutCursor cursor;
  absl::Status status = sides_->BeginPut(cursor, size, deadline);
  if (!status.ok()) [[unlikely]]
    return status;
  QueuePutSide& put = sides_->put();
  char* at = put.Begin(cursor, size);
  for (const absl::string_view piece : pieces) {
    if (piece.empty()) continue;
    std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  }
  put.End(cursor, size, flags);
  sides_->EndPut(cursor, 1);
  return status;
}

absl::StatusOr<size_t> QueueCore::PutBatch(
    absl::Span<const absl::string_view> messages, const Deadline& deadline) {
  size_t put = 0;
  while (put < messages.size()) {
    PutCursor cursor;
    absl::Status status =
        sides_->BeginPut(cursor, messages[put].size(), deadline);
    if (!status.ok() && put == 0) return status;
    if (!status.ok()) break;
    size_t written = 0;
    bool fits = true;
    while (status.ok() && fits) {
      const absl::string_view message = messages[put];
      char* const at = sides_->put().Begin(cursor, message.size());
      if (!message.empty()) std::memcpy(at, message.data(), message.size());
      sides_->put().End(cursor, message.size(), /*flags=*/0);
      ++put;
      if (++written == kBatch || put == messages.size()) break;
      status = sides_->put().MakeRoom(cursor, messages[put].size(), fits);
    }
    sides_->EndPut(cursor, written);
  }
  return put;
}

absl::StatusOr<QueueCore::Reservation> QueueCore::Reserve(
    size_t size, const Deadline& deadline) {
  PutCursor cursor;
  MP_RETURN_IF_ERROR(sides_->BeginPut(cursor, size, deadline));
  char* const at = sides_->put().Begin(cursor, size);
  return Reservation(this, std::make_unique<PutCursor>(cursor), {at, size});
}

QueueCore::Reservation::Reservation(QueueCore* core,
                                    std::unique_ptr<PutCursor> cursor,
                                    absl::Span<char> bytes)
    : core_(core), cursor_(std::move(cursor)), bytes_(bytes) {}

QueueCore::Reservation::Reservation(Reservation&& other) noexcept
    : core_(std::exchange(other.core_, nullptr)),
      cursor_(std::move(other.cursor_)),
      bytes_(other.bytes_) {}

QueueCore::Reservation& QueueCore::Reservation::operator=(
    Reservation&& other) noexcept {
  std::swap(core_, other.core_);
  std::swap(cursor_, other.cursor_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

absl::Status QueueCore::Reservation::Commit(uint32_t flags, size_t used) {
  if (core_ == nullptr) {
    return absl::FailedPreconditionError(
        "Queue::Reservation::Commit: committed before");
  }
  MP_RETURN_IF_ERROR(CheckFlags(flags));
  if (used > bytes_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("Queue::Reservation::Commit: ", used,
                     " bytes used, reserved were ", bytes_.size()));
  }
  QueueSides& sides = *core_->sides_;
  if (!sides.put_lock().IsOwn()) {
    return absl::FailedPreconditionError(
        "Queue::Reservation::Commit: it is that of the process that forked "
        "this one");
  }
  if (sides.end() != QueueEnd::kNot) return ShutDown();
  core_ = nullptr;
  sides.put().End(*cursor_, used, flags);
  sides.EndPut(*cursor_, 1);
  return absl::OkStatus();
}

QueueCore::Reservation::~Reservation() {
  if (core_ == nullptr || !core_->sides_->put_lock().IsOwn()) return;
  core_->sides_->GiveUpPut(*cursor_);
}

absl::Status QueueCore::Get(const Deadline& deadline, Take take) {
  return sides_->Get(1, deadline, take).status();
}

absl::StatusOr<size_t> QueueCore::GetBatch(size_t max, const Deadline& deadline,
                                           Take take) {
  if (max == 0) return 0;
  return sides_->Get(max, deadline, take);
}

uint64_t QueueCore::published() const {
  return SideCount{sides_->head().put.count.load()}.count();
}
uint64_t QueueCore::taken() const {
  return SideCount{sides_->head().get.count.load()}.count();
}

uint64_t QueueCore::Size() const {
  const uint64_t taken_before = taken();
  const uint64_t put = published();
  if (sides_->end() == QueueEnd::kDropped || put < taken_before) return 0;
  return put - taken_before;
}

bool QueueCore::Full() const { return sides_->IsFull(); }

void QueueCore::Shutdown(bool immediate) { sides_->ShutDownNow(immediate); }
bool QueueCore::is_shut_down() const { return sides_->end() != QueueEnd::kNot; }

absl::Status QueueCore::TaskDone() { return sides_->tasks().Done(1); }
absl::Status QueueCore::JoinTasks(const Deadline& deadline) {
  return sides_->JoinTasks(deadline);
}

int QueueCore::fileno() { return sides_->StartWatching(); }

}  // namespace mp::internal
