// Compiles: all that the programs beside this one get wrong is right here.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/process/bind.h"
#include "mp/process/context.h"
#include "mp/process/fields.h"
#include "mp/process/process.h"

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
  mp::Process nothing(Nothing);
  mp::Process work(Work, 1, "text", std::vector<int>{1}, Point{1, 2});
  mp::Process lambda([](int) {}, 1);
  mp::Process generic_lambda([](const auto&) {}, "text");
  mp::Process object(Scale{2}, 3);
  mp::Process bound(mp::Bind(Work, 1, "text"), std::vector<int>(), Point());
  int captured = 0;
  mp::Process forked(mp::ForkContext(), [&captured] { captured = 1; });
}
