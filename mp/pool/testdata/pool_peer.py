"""Does with CPython's pools what pool_ratios does, to compare with.

Reads lines "NAME RUNS" and answers each with the seconds that so many tasks
took. NAME is Pool.map.CHUNK, Executor.map.CHUNK, where CHUNK is a number of
items or "default", Pool.imap, Pool.apply_async, Executor.submit or Pool.apply.
"""

import concurrent.futures
import multiprocessing
import sys
import time

WORKERS = 2

context = multiprocessing.get_context("fork")


def same(x):
    return x


def use_map(pool, runs, chunk):
    if chunk == "default":
        pool.map(same, range(runs))
    else:
        pool.map(same, range(runs), int(chunk))


def use_executor_map(executor, runs, chunk):
    for _ in executor.map(same, range(runs), chunksize=int(chunk)):
        pass


def use_imap(pool, runs):
    for _ in pool.imap(same, range(runs)):
        pass


def use_apply_async(pool, runs):
    for result in [pool.apply_async(same, (i,)) for i in range(runs)]:
        result.get()


def use_submit(executor, runs):
    for future in [executor.submit(same, i) for i in range(runs)]:
        future.result()


uses = {
    "Pool.map": use_map,
    "Pool.imap": use_imap,
    "Pool.apply_async": use_apply_async,
    "Executor.map": use_executor_map,
    "Executor.submit": use_submit,
}


def make(kind):
    if kind == "Pool":
        return context.Pool(WORKERS)
    return concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=context)


def bulk(name, runs):
    kind, use, *chunk = name.split(".")
    with make(kind) as pool:
        uses[kind + "." + use](pool, WORKERS, *chunk)
        begin = time.monotonic()
        uses[kind + "." + use](pool, runs, *chunk)
        return time.monotonic() - begin


def one_by_one(runs):
    taken = 0
    with make("Pool") as pool:
        pool.apply(same, (0,))
        for i in range(runs):
            time.sleep(0.001)
            begin = time.monotonic()
            pool.apply(same, (i,))
            taken += time.monotonic() - begin
    return taken


for line in sys.stdin:
    name, runs = line.split()
    taken = (one_by_one if name == "Pool.apply" else
             lambda runs: bulk(name, runs))(int(runs))
    print(taken, flush=True)
