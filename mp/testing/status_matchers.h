#ifndef MP_TESTING_STATUS_MATCHERS_H_
#define MP_TESTING_STATUS_MATCHERS_H_

#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

// Matchers for absl::Status and absl::StatusOr.
//
// Example:
//   EXPECT_THAT(queue.Put("hello", timeout), IsOk());
//   EXPECT_THAT(queue.Get(timeout), IsOkAndHolds("hello"));
//   EXPECT_THAT(queue.Put(text, timeout),
//               StatusIs(absl::StatusCode::kInvalidArgument,
//                        HasSubstr("max_message_bytes is 4096")));
//
// Source: the matchers of the same names in Google's own code and, since 2024,
//         in absl/status/status_matchers.h.

namespace mp::testing {
namespace internal {

inline const absl::Status& GetStatus(const absl::Status& status) {
  return status;
}

template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

}  // namespace internal

MATCHER(IsOk, negation ? "is not OK" : "is OK") {
  const absl::Status& status = internal::GetStatus(arg);
  *result_listener << "whose status is " << status;
  return status.ok();
}

// `value` is a value or a matcher.
MATCHER_P(IsOkAndHolds, value,
          (negation ? "is not OK or has a value that " : "is OK and ") +
              ::testing::DescribeMatcher<
                  const typename std::decay_t<arg_type>::value_type&>(
                  value, negation)) {
  if (!arg.ok()) {
    *result_listener << "whose status is " << arg.status();
    return false;
  }
  *result_listener << "whose value is " << ::testing::PrintToString(*arg)
                   << " ";
  return ::testing::ExplainMatchResult(value, *arg, result_listener);
}

// `message` is a string or a matcher of one.
MATCHER_P2(StatusIs, code, message,
           (negation ? "does not have code " : "has code ") +
               absl::StatusCodeToString(code) +
               (negation ? " or has a message that "
                         : " and has a message that ") +
               ::testing::DescribeMatcher<std::string>(message, negation)) {
  const absl::Status& status = internal::GetStatus(arg);
  *result_listener << "whose status is " << status << " ";
  return status.code() == code &&
         ::testing::ExplainMatchResult(message, std::string(status.message()),
                                       result_listener);
}

inline auto StatusIs(absl::StatusCode code) {
  return StatusIs(code, ::testing::_);
}

}  // namespace mp::testing

#endif  // MP_TESTING_STATUS_MATCHERS_H_
