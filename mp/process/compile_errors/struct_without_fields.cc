#include "mp/process/process.h"

struct Point {
  int x;
  int y;
};

void Work(Point) {}

int main() { mp::Process p(Work, Point{1, 2}); }
