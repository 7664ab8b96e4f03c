#ifndef MP_PROCESS_INTERNAL_EXCEPTION_NAME_H_
#define MP_PROCESS_INTERNAL_EXCEPTION_NAME_H_

#include <string>

namespace mp::internal {

// Returns the type of the exception that is being handled, such as
// "std::out_of_range".
std::string ExceptionName();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_EXCEPTION_NAME_H_
