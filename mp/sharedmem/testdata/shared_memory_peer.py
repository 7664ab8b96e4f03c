"""Makes, opens and fills blocks by CPython's SharedMemory, to compare with.

Reads lines "NAME RUNS" and answers each with the seconds that so many of it take
if each takes as long as their median. NAME is create, open or fill.
"""

import statistics
import sys
import time
from multiprocessing.shared_memory import SharedMemory

MEBIBYTE = 1 << 20
FILL = bytes(64 * MEBIBYTE)
held = SharedMemory(create=True, size=MEBIBYTE)


def create():
    block = SharedMemory(create=True, size=MEBIBYTE)
    block.close()
    block.unlink()


def open_held():
    SharedMemory(held.name).close()


def fill():
    block = SharedMemory(create=True, size=len(FILL))
    block.buf[:] = FILL
    block.close()
    block.unlink()


WHAT = {"create": create, "open": open_held, "fill": fill}
for line in sys.stdin:
    name, runs = line.split()
    times = []
    for _ in range(int(runs)):
        begin = time.monotonic()
        WHAT[name]()
        times.append(time.monotonic() - begin)
    print(int(runs) * statistics.median(times), flush=True)
held.close()
held.unlink()
