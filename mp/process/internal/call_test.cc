#include "mp/process/internal/call.h"

#include <fcntl.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/bind.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/call_test_library.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {

namespace internal {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What the functions below were called with.
std::vector<std::string>& Log() {
  static auto& log = *new std::vector<std::string>;
  return log;
}

void Greet(const std::string& name, int times) {
  Log().push_back(name + std::to_string(times));
}

struct Greeter {
  std::string greeting = {};
  void Greet(const std::string& name) const {
    Log().push_back(greeting + name);
  }
  void operator()(const std::string& name) const { Greet(name); }
  MP_FIELDS(greeting)
};

absl::StatusOr<Parcel> Pack(const Call& call) {
  Encoder encoder;
  call.Encode(encoder);
  return std::move(encoder).Finish();
}

absl::StatusOr<std::unique_ptr<Call>> Unpack(Parcel parcel) {
  Decoder decoder(std::move(parcel));
  return ReadCall(decoder);
}

class CallTest : public ::testing::Test {
 protected:
  CallTest() { Log().clear(); }

  // Runs the call's copy in another process, but in this one.
  template <typename... Args>
  absl::Status RunCopy(Args&&... args) {
    const auto call = MakeTravellingCall(std::forward<Args>(args)...);
    MP_ASSIGN_OR_RETURN(Parcel parcel, Pack(*call));
    MP_ASSIGN_OR_RETURN(const auto copy, Unpack(std::move(parcel)));
    return copy->Run();
  }

 private:
  LeakCheck leak_check_;
};

TEST_F(CallTest, RunsFunctions) {
  EXPECT_THAT(MakeTravellingCall(Greet, "a", 1)->Run(), IsOk());
  EXPECT_THAT(Log(), ElementsAre("a1"));
}

TEST_F(CallTest, TravelsWithItsArguments) {
  EXPECT_THAT(RunCopy(Greet, "a", 1), IsOk());
  EXPECT_THAT(RunCopy(&Greeter::Greet, Greeter{"hi "}, "a"), IsOk());
  EXPECT_THAT(RunCopy(Greeter{"ho "}, "b"), IsOk());
  EXPECT_THAT(RunCopy([](int n) { Greet("lambda", n); }, 2), IsOk());
  EXPECT_THAT(RunCopy([](const auto& name) { Greet(name, 3); }, "any"), IsOk());
  EXPECT_THAT(RunCopy(Bind(Greet, "bound"), 4), IsOk());
  EXPECT_THAT(Log(),
              ElementsAre("a1", "hi a", "ho b", "lambda2", "any3", "bound4"));
}

TEST_F(CallTest, ArgumentsAreTakenWhenItIsMade) {
  std::string name = "before";
  const auto call = MakeTravellingCall(Greet, name, 1);
  name = "after";
  EXPECT_THAT(call->Run(), IsOk());
  EXPECT_THAT(Log(), ElementsAre("before1"));
}

TEST_F(CallTest, ArgumentsMayBeDescriptors) {
  const auto is_open = [](Fd fd) -> absl::Status {
    if (fcntl(fd.get(), F_GETFD) >= 0) return absl::OkStatus();
    return absl::NotFoundError("closed");
  };
  EXPECT_THAT(RunCopy(is_open, Fd(open("/dev/null", O_RDONLY))), IsOk());
}

TEST_F(CallTest, ResultIsTheStatusOfTheFunction) {
  EXPECT_THAT(RunCopy([] { return absl::AbortedError("a"); }),
              StatusIs(absl::StatusCode::kAborted, "a"));
  EXPECT_THAT(
      RunCopy([]() -> absl::StatusOr<int> { return absl::AbortedError("b"); }),
      StatusIs(absl::StatusCode::kAborted, "b"));
  EXPECT_THAT(RunCopy([]() -> absl::StatusOr<int> { return 1; }), IsOk());
}

TEST_F(CallTest, OtherResultsAreDropped) {
  EXPECT_THAT(RunCopy([] { return 1; }), IsOk());
  EXPECT_THAT(RunCopy([] { return std::string("a"); }), IsOk());
}

TEST_F(CallTest, KindsOfLibrariesAreKnown) {
  const absl::StatusOr<Parcel> parcel = Pack(*CallSetCalled(7));
  ASSERT_THAT(parcel, IsOk());
  const auto copy = Unpack(Parcel{parcel->bytes, {}});
  ASSERT_THAT(copy, IsOk());
  EXPECT_THAT((*copy)->Run(), IsOk());
  EXPECT_EQ(Called(), 7);
}

TEST_F(CallTest, InheritedCallsTakeWhatDoesNotTravel) {
  int result = 0;
  const auto call =
      MakeCall<InheritedCall>([&result](int* in) { result = *in; }, &result);
  EXPECT_THAT(call->Run(), IsOk());
  EXPECT_THAT(Pack(*call), StatusIs(absl::StatusCode::kInvalidArgument,
                                    HasSubstr("for the start method fork")));
}

TEST_F(CallTest, ArgumentThatCannotBeSentIsAnError) {
  EXPECT_THAT(RunCopy([](Fd) {}, Fd()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(CallTest, CutShortIsDataLoss) {
  const absl::StatusOr<Parcel> parcel =
      Pack(*MakeTravellingCall(&Greeter::Greet, Greeter{"hi "}, "a"));
  ASSERT_THAT(parcel, IsOk());
  for (size_t size = 0; size < parcel->bytes.size(); ++size) {
    EXPECT_THAT(Unpack(Parcel{parcel->bytes.substr(0, size), {}}),
                StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
}

TEST_F(CallTest, BytesBehindItAreDataLoss) {
  absl::StatusOr<Parcel> parcel = Pack(*MakeTravellingCall(Greet, "a", 1));
  ASSERT_THAT(parcel, IsOk());
  parcel->bytes += '\0';
  EXPECT_THAT(Unpack(*std::move(parcel)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("1 bytes")));
}

// Else a forged message could call any function to read its arguments.
TEST_F(CallTest, FunctionIsNoKindOfCall) {
  Encoder encoder;
  encoder.Write(&Greet);
  EXPECT_THAT(Unpack(*std::move(encoder).Finish()),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("a kind that this program does not have")));
}

}  // namespace
}  // namespace internal
}  // namespace mp
