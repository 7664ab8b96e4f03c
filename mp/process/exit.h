#ifndef MP_PROCESS_EXIT_H_
#define MP_PROCESS_EXIT_H_

namespace mp {

// Ends the calling mp::Process with an exit code, of which the lower 8 bits
// count. In a process it waits for children and flushes stdio as its end always
// does, but no destructor on the stack runs; one of the start method thread
// unwinds instead. In the program's first process it is std::exit().
//
// Source: CPython sys.exit(N) in a child.
[[noreturn]] void Exit(int code);

}  // namespace mp

#endif  // MP_PROCESS_EXIT_H_
