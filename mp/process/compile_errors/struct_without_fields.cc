#include "mp/process/internal/call.h"

struct Point {
  int x;
  int y;
};

void Work(Point) {}

int main() { mp::internal::MakeTravellingCall(Work, Point{1, 2}); }
