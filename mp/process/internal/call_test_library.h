#ifndef MP_PROCESS_INTERNAL_CALL_TEST_LIBRARY_H_
#define MP_PROCESS_INTERNAL_CALL_TEST_LIBRARY_H_

#include <memory>

#include "mp/process/internal/call.h"

// A library, so that call_test meets calls of a kind that it does not make
// itself. Where libraries are linked as shared ones their code lies there.
namespace mp::internal {

// Returns a call that does SetCalled(value).
std::unique_ptr<Call> CallSetCalled(int value);

// What SetCalled() was called with last.
int Called();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_CALL_TEST_LIBRARY_H_
