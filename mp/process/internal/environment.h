#ifndef MP_PROCESS_INTERNAL_ENVIRONMENT_H_
#define MP_PROCESS_INTERNAL_ENVIRONMENT_H_

#include <string>
#include <vector>

// The environment as a whole, as "NAME=VALUE" each. Like getenv(3), not safe
// while another thread changes it.
namespace mp::internal {

std::vector<std::string> CopyEnvironment();

// Replaces it by one that lives as long as the process.
void ReplaceEnvironment(std::vector<std::string> environment);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_ENVIRONMENT_H_
