"""Starts and joins processes by CPython's multiprocessing, to compare with.

Reads lines "METHOD RUNS" and answers each with the seconds that so many starts
and joins of an empty function take if each takes as long as their median.

To be run by "python3 -c", so that there is no main module which a child of
spawn or forkserver would import again: CPython at its best.
"""

import multiprocessing
import statistics
import sys
import time


def start_and_join(context):
    # A function that a child has without an import.
    process = context.Process(target=time.time)
    process.start()
    process.join()
    assert process.exitcode == 0


for line in sys.stdin:
    method, runs = line.split()
    context = multiprocessing.get_context(method)
    times = []
    for _ in range(int(runs)):
        begin = time.monotonic()
        start_and_join(context)
        times.append(time.monotonic() - begin)
    print(int(runs) * statistics.median(times), flush=True)
