#ifndef EXAMPLES_INTERNAL_PROCESS_TREE_H_
#define EXAMPLES_INTERNAL_PROCESS_TREE_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

// What a test can see of processes that others have started.
//
// Source: man 5 proc.
namespace examples {

// Returns the children of a process, their children and so on, without those
// that have ended.
std::vector<pid_t> DescendantsOf(pid_t ancestor);

// Whether there is such a process and it has not ended.
bool IsRunning(pid_t pid);

// Returns which of a process and its descendants are in the middle of reading a
// file.
std::vector<pid_t> ReadersOf(const std::string& path, pid_t ancestor);

// Waits until there is a reader and returns it; nothing if `ancestor` ends
// before.
std::optional<pid_t> AwaitReaderOf(const std::string& path, pid_t ancestor);

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_PROCESS_TREE_H_
