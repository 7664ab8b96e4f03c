"""Does with CPython's Pipe() what connection_ratios does, to compare with.

Reads lines "NAME RUNS" and answers each with the seconds that so many took.
NAME is round_trip_N or one_way_N, with N the bytes of a message.
"""

import multiprocessing
import os
import sys
import time

context = multiprocessing.get_context("fork")


def serve(connection, other_end):
    """Sends back what it is told to, and swallows the rest."""
    other_end.close()  # or it would never see the end
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        if message[:1] != b"s":
            connection.send_bytes(message)


def round_trip(connection, size, runs):
    message = b"e" * size
    for _ in range(runs):
        connection.send_bytes(message)
        connection.recv_bytes()


def one_way(connection, size, runs):
    message = b"s" * size
    for _ in range(runs):
        connection.send_bytes(message)
    connection.send_bytes(b"e")
    connection.recv_bytes()


def main():
    here, there = context.Pipe()
    child = context.Process(target=serve, args=(there, here), daemon=True)
    child.start()
    there.close()
    ways = {"round_trip": round_trip, "one_way": one_way}
    for line in sys.stdin:
        name, runs = line.split()
        way, size = name.rsplit("_", 1)
        begin = time.monotonic()
        ways[way](here, int(size), int(runs))
        print(time.monotonic() - begin, flush=True)
    here.close()
    os._exit(0)


main()
