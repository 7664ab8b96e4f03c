#include "mp/process/fields.h"
#include "mp/process/process.h"

struct Point {
  explicit Point(int at) : x(at) {}
  int x;
  MP_FIELDS(x)
};

void Work(const Point&) {}

int main() { mp::Process p(Work, Point(1)); }
