"""Does with CPython's multiprocessing what queue_ratios does, to compare with.

Reads lines "NAME RUNS" and answers each with the seconds that so many took.
NAME is flow.KIND.BYTES.PRODUCERS.CONSUMERS or round_trip.KIND.BYTES, where KIND
is Queue, SimpleQueue or Pipe.
"""

import multiprocessing
import sys
import time

context = multiprocessing.get_context("fork")


class Pipe:
    """The two ends of a pipe, as a queue."""

    def __init__(self):
        self.reader, self.writer = context.Pipe(duplex=False)
        self.put = self.writer.send_bytes
        self.get = self.reader.recv_bytes


def make(kind):
    return Pipe() if kind == "Pipe" else getattr(context, kind)()


def share(total, parts, index):
    return total // parts + (1 if index < total % parts else 0)


def put_all(queue, ready, go, count, size):
    message = bytes(size)
    ready.release()
    go.wait()
    for _ in range(count):
        queue.put(message)


def get_all(queue, ready, go, count, end):
    ready.release()
    go.wait()
    for _ in range(count):
        queue.get()
    end.value = time.monotonic()


def flow(kind, size, producers, consumers, runs):
    queue, ready, go = make(kind), context.Semaphore(0), context.Event()
    ends = [context.RawValue("d") for _ in range(consumers)]
    children = [
        context.Process(
            target=put_all,
            args=(queue, ready, go, share(runs, producers, i), size))
        for i in range(producers)
    ] + [
        context.Process(
            target=get_all,
            args=(queue, ready, go, share(runs, consumers, i), ends[i]))
        for i in range(consumers)
    ]
    for child in children:
        child.start()
    for _ in children:
        ready.acquire()
    begin = time.monotonic()
    go.set()
    for child in children:
        child.join()
    return max(end.value for end in ends) - begin


def echo(there, back, count):
    for _ in range(count):
        back.put(there.get())


def round_trip(kind, size, runs):
    there, back, message = make(kind), make(kind), bytes(size)
    child = context.Process(target=echo, args=(there, back, runs + 1))
    child.start()
    there.put(message)
    back.get()
    begin = time.monotonic()
    for _ in range(runs):
        there.put(message)
        back.get()
    passed = time.monotonic() - begin
    child.join()
    return passed


for line in sys.stdin:
    name, runs = line.split()
    what, kind, *numbers = name.split(".")
    measure = {"flow": flow, "round_trip": round_trip}[what]
    print(measure(kind, *map(int, numbers), int(runs)), flush=True)
