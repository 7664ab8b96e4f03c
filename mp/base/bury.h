#ifndef MP_BASE_BURY_H_
#define MP_BASE_BURY_H_

#include <new>
#include <utility>

namespace mp {

// Replaces `value` by a new one, without destroying the old one, which stays
// where a leak checker finds it. For a forked child: what threads that it does
// not have were changing at the fork must not be touched any more.
template <typename T>
void Bury(T& value) {
  struct Grave {
    T value;
    Grave* next;
  };
  static Grave* graves = nullptr;
  graves = new Grave{std::move(value), graves};
  new (&value) T();
}

}  // namespace mp

#endif  // MP_BASE_BURY_H_
