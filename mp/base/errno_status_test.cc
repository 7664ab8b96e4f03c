#include "mp/base/errno_status.h"

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using testing::StatusIs;

TEST(ErrnoStatusTest, MessageIsOperationAndText) {
  EXPECT_THAT(ErrnoStatus(ENOENT, "open(\"/none\")"),
              StatusIs(absl::StatusCode::kNotFound,
                       ::testing::StartsWith(
                           "open(\"/none\"): No such file or directory")));
}

TEST(ErrnoStatusTest, ZeroIsOk) {
  EXPECT_THAT(ErrnoStatus(0, "open"), testing::IsOk());
}

struct Case {
  int error;
  absl::StatusCode code;
};

class ErrnoStatusCodeTest : public ::testing::TestWithParam<Case> {};

TEST_P(ErrnoStatusCodeTest, IsOneToActOn) {
  EXPECT_THAT(ErrnoStatus(GetParam().error, "call"), StatusIs(GetParam().code));
}

INSTANTIATE_TEST_SUITE_P(
    Errors, ErrnoStatusCodeTest,
    ::testing::Values(Case{EAGAIN, absl::StatusCode::kResourceExhausted},
                      Case{ENOMEM, absl::StatusCode::kResourceExhausted},
                      Case{EMFILE, absl::StatusCode::kResourceExhausted},
                      Case{ENFILE, absl::StatusCode::kResourceExhausted},
                      Case{ENOSPC, absl::StatusCode::kResourceExhausted},
                      Case{ETOOMANYREFS, absl::StatusCode::kResourceExhausted},
                      Case{EPIPE, absl::StatusCode::kUnavailable},
                      Case{ECONNRESET, absl::StatusCode::kUnavailable},
                      Case{EOWNERDEAD, absl::StatusCode::kAborted},
                      Case{EMSGSIZE, absl::StatusCode::kInvalidArgument},
                      Case{EPROTO, absl::StatusCode::kDataLoss},
                      Case{EIO, absl::StatusCode::kDataLoss},
                      // What absl::ErrnoToStatus() says of the others is right.
                      Case{EACCES, absl::StatusCode::kPermissionDenied},
                      Case{EINVAL, absl::StatusCode::kInvalidArgument}),
    [](const auto& info) { return absl::StrCat("Errno", info.param.error); });

}  // namespace
}  // namespace mp
