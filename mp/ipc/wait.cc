#include "mp/ipc/wait.h"

#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace mp {
namespace {

// From one time to ask items that may change without a word to the next.
constexpr absl::Duration kSlice = absl::Milliseconds(50);

absl::Status CheckItems(absl::Span<const WaitItem> items,
                        absl::Duration timeout) {
  if (items.empty() && timeout == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        "Wait: nothing to wait for, and no end of it");
  }
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].fd >= 0) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("Wait: item ", i, " is closed (descriptor ", items[i].fd,
                     "); leave it out"));
  }
  return absl::OkStatus();
}

std::vector<pollfd> PollEntries(absl::Span<const WaitItem> items) {
  std::vector<pollfd> entries;
  entries.reserve(items.size());
  for (const WaitItem& item : items) entries.push_back({item.fd, POLLIN, 0});
  return entries;
}

// Asks the items what poll() cannot tell: all at first, later those that may
// have changed.
void Ask(absl::Span<const WaitItem> items, bool is_first,
         std::vector<size_t>& ready) {
  for (size_t i = 0; i < items.size(); ++i) {
    const WaitItem& item = items[i];
    if (item.ready == nullptr || !(is_first || item.ask_again)) continue;
    if (item.ready(item.object)) ready.push_back(i);
  }
}

absl::Status Collect(absl::Span<const pollfd> entries,
                     std::vector<size_t>& ready) {
  for (size_t i = 0; i < entries.size(); ++i) {
    if ((entries[i].revents & POLLNVAL) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("Wait: item ", i, " is descriptor ", entries[i].fd,
                       ", which is not open"));
    }
    if (entries[i].revents != 0) ready.push_back(i);
  }
  return absl::OkStatus();
}

absl::Status Look(absl::Span<pollfd> entries, const Deadline& deadline,
                  std::vector<size_t>& ready) {
  const absl::StatusOr<int> count = PollUntil(entries, deadline);
  if (absl::IsInvalidArgument(count.status())) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "Wait: ", entries.size(),
        " items are more than this process may have descriptors; raise its "
        "limit (ulimit -n)"));
  }
  MP_RETURN_IF_ERROR(count.status());
  return *count == 0 ? absl::OkStatus() : Collect(entries, ready);
}

}  // namespace

absl::StatusOr<std::vector<size_t>> Wait(absl::Span<const WaitItem> items,
                                         absl::Duration timeout) {
  MP_RETURN_IF_ERROR(CheckItems(items, timeout));
  const Deadline deadline(timeout);
  const bool asks =
      std::any_of(items.begin(), items.end(),
                  [](const WaitItem& item) { return item.ask_again; });
  std::vector<pollfd> entries = PollEntries(items);
  std::vector<size_t> ready;
  for (bool is_first = true;; is_first = false) {
    Ask(items, is_first, ready);
    absl::Duration wait = deadline.Remaining();
    if (asks) wait = std::min(wait, kSlice);
    if (!ready.empty()) wait = absl::ZeroDuration();
    MP_RETURN_IF_ERROR(Look(absl::MakeSpan(entries), Deadline(wait), ready));
    if (!ready.empty() || deadline.Expired()) break;
  }
  std::sort(ready.begin(), ready.end());
  ready.erase(std::unique(ready.begin(), ready.end()), ready.end());
  return ready;
}

}  // namespace mp
