#include "mp/process/internal/call.h"

struct Point {
  int x = 0;
  int y = 0;
  MP_FIELDS(x, y)
};
struct Pixel : Point {
  int colour = 0;
};

void Work(const Pixel&) {}

int main() { mp::internal::MakeTravellingCall(Work, Pixel()); }
