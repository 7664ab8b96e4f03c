#include "mp/process/internal/call.h"

struct Point {
  explicit Point(int at) : x(at) {}
  int x;
  MP_FIELDS(x)
};

void Work(const Point&) {}

int main() { mp::internal::MakeTravellingCall(Work, Point(1)); }
