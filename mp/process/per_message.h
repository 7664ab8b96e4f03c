#ifndef MP_PROCESS_PER_MESSAGE_H_
#define MP_PROCESS_PER_MESSAGE_H_

#include <memory>
#include <utility>
#include <vector>

namespace mp {

// Objects that belong to a message as a whole, one of each type: what several
// values in it have in common, such as a descriptor.
//
// Example:
//   struct Seen { std::map<const Node*, int> numbers; };
//   Seen& seen = encoder.per_message().Get<Seen>();
//
// Threads: not safe.
class PerMessage {
 public:
  // Returns the T, made by its default constructor at the first call.
  template <typename T>
  T& Get() {
    for (const auto& [type, object] : objects_) {
      if (type == &kType<T>) return *static_cast<T*>(object.get());
    }
    auto made = std::make_shared<T>();
    objects_.emplace_back(&kType<T>, made);
    return *made;
  }

 private:
  // Its address stands for T.
  template <typename T>
  static inline char kType = 0;

  std::vector<std::pair<const void*, std::shared_ptr<void>>> objects_;
};

}  // namespace mp

#endif  // MP_PROCESS_PER_MESSAGE_H_
