#ifndef MP_PROCESS_INTERNAL_IDENTITY_H_
#define MP_PROCESS_INTERNAL_IDENTITY_H_

#include <optional>
#include <string>

#include "mp/process/auth_key.h"
#include "mp/process/context.h"

namespace mp::internal {

// What a process knows of itself.
struct Identity {
  std::string name = "MainProcess";
  // Its place in the tree of processes: "" for the first, "2:1" for the first
  // child of its second.
  std::string path;
  bool daemon = false;
  // How it was started; nothing for the first process.
  std::optional<StartMethod> started_by;
  // Nothing until somebody asks for that of the first process.
  std::optional<AuthKey> authkey;
  // How many Process objects it has made.
  int children = 0;
};

// Returns that of the calling process, or thread in the place of one. It has a
// key.
//
// Threads: these functions are safe from any.
Identity CurrentIdentity();

// The same without a copy of all of it.
std::string CurrentProcessName();
bool CurrentProcessIsDaemon();

// Changes what the process, or the thread, may itself change.
void SetCurrentName(std::string name);
void SetCurrentAuthKey(AuthKey key);

// Makes this process, or this thread only, another one, which shall live as
// long as the thread.
void BecomeProcess(Identity identity);
void BecomeThread(Identity* identity);

// Returns the path of the next child of this process.
std::string NextChildPath();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_IDENTITY_H_
