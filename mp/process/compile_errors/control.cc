// Compiles: all that the programs beside this one get wrong is right here.

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/process/bind.h"
#include "mp/process/internal/call.h"

struct Point {
  int x = 0;
  int y = 0;
  MP_FIELDS(x, y)
};

struct Scale {
  double factor = 1;
  void operator()(double) const {}
  MP_FIELDS(factor)
};

void Nothing() {}
void Work(int, const std::string&, std::vector<int>, Point) {}

int main() {
  mp::internal::MakeTravellingCall(Nothing);
  mp::internal::MakeTravellingCall(Work, 1, "text", std::vector<int>{1},
                                   Point{1, 2});
  mp::internal::MakeTravellingCall([](int) {}, 1);
  mp::internal::MakeTravellingCall([](const auto&) {}, "text");
  mp::internal::MakeTravellingCall(Scale{2}, 3);
  mp::internal::MakeTravellingCall(mp::Bind(Work, 1, "text"),
                                   std::vector<int>(), Point());
}
