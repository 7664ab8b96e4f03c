#ifndef MP_POOL_INTERNAL_COUNTING_RANGE_H_
#define MP_POOL_INTERNAL_COUNTING_RANGE_H_

#include <iterator>
#include <stdexcept>
#include <string>

namespace mp::internal {

// The numbers from 0 on without an end, to be read once; for tests of those who
// read them.
class CountingRange {
 public:
  // `read` counts those that were left behind. `throw_at` is a number that
  // throws.
  explicit CountingRange(int* read, int throw_at = -1)
      : read_(read), throw_at_(throw_at) {}

  class Iterator {
   public:
    Iterator(int* read, int throw_at) : read_(read), throw_at_(throw_at) {}

    int operator*() const {
      if (value_ == throw_at_) {
        throw std::runtime_error("thrown by item " + std::to_string(value_));
      }
      return value_;
    }
    Iterator& operator++() {
      ++value_;
      ++*read_;
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return false; }

   private:
    int* read_;
    int throw_at_;
    int value_ = 0;
  };

  Iterator begin() const { return {read_, throw_at_}; }
  std::default_sentinel_t end() const { return {}; }

 private:
  int* read_;
  int throw_at_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_COUNTING_RANGE_H_
