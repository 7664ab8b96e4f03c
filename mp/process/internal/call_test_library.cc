#include "mp/process/internal/call_test_library.h"

#include <memory>

#include "mp/process/internal/call.h"

namespace mp::internal {
namespace {

int called = 0;

struct SetCalled {
  void operator()(int value) const { called = value; }
};

}  // namespace

std::unique_ptr<Call> CallSetCalled(int value) {
  return MakeTravellingCall(SetCalled(), value);
}

int Called() { return called; }

}  // namespace mp::internal
