#include "mp/process/fields.h"
#include "mp/process/process.h"

struct Point {
  int x = 0;
  int y = 0;
  MP_FIELDS(x, y)
};
struct Pixel : Point {
  int colour = 0;
};

void Work(const Pixel&) {}

int main() { mp::Process p(Work, Pixel()); }
