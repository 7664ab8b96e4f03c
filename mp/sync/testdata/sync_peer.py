"""Does with CPython's multiprocessing what sync_ratios does, to compare with.

Reads lines "NAME RUNS" and answers each with the seconds that so many took.
"""

import multiprocessing
import os
import sys
import time

context = multiprocessing.get_context("fork")
lock = context.Lock()
rlock = context.RLock()
condition = context.Condition(context.Lock())
turn = context.RawValue("q")
semaphore = context.Semaphore()
events = [context.Event(), context.Event()]


def cycle(a_lock, runs):
    acquire, release = a_lock.acquire, a_lock.release
    begin = time.monotonic()
    for _ in range(runs):
        acquire()
        release()
    return time.monotonic() - begin


def take_turns(begin, end, turns):
    acquire, release = lock.acquire, lock.release
    time.sleep(max(begin - time.monotonic(), 0))
    count = 0
    while time.monotonic() < end:
        for _ in range(16):
            acquire()
            release()
        count += 16
    turns.value = count


def contended(processes, runs):
    """Seconds for `runs` turns if as many are taken as in a tenth of one."""
    window = 0.1
    counts = [context.RawValue("q") for _ in range(processes)]
    begin = time.monotonic() + 0.1
    children = [
        context.Process(target=take_turns, args=(begin, begin + window, count))
        for count in counts
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return runs * window / max(sum(count.value for count in counts), 1)


def play(side, rounds):
    for _ in range(rounds):
        with condition:
            while turn.value % 2 != side:
                condition.wait()
            turn.value += 1
            condition.notify()


def play_on(core, side, rounds):
    os.sched_setaffinity(0, {core})
    play(side, rounds)


def ping_pong(cores, runs):
    everywhere = os.sched_getaffinity(0)
    here = sorted(everywhere)[:cores]
    turn.value = 0
    child = context.Process(target=play_on, args=(here[-1], 1, runs + 1))
    child.start()
    os.sched_setaffinity(0, {here[0]})
    play(0, 1)
    begin = time.monotonic()
    play(0, runs)
    child.join()
    taken = time.monotonic() - begin
    os.sched_setaffinity(0, everywhere)
    return taken


def is_set(runs):
    look = events[0].is_set
    begin = time.monotonic()
    for _ in range(runs):
        look()
    return time.monotonic() - begin


def answer(core, rounds):
    os.sched_setaffinity(0, {core})
    for _ in range(rounds):
        events[0].wait()
        events[0].clear()
        events[1].set()


def wake(cores, runs):
    everywhere = os.sched_getaffinity(0)
    here = sorted(everywhere)[:cores]
    child = context.Process(target=answer, args=(here[-1], runs + 1))
    child.start()
    os.sched_setaffinity(0, {here[0]})
    for i in range(runs + 1):
        if i == 1:
            begin = time.monotonic()
        events[0].set()
        events[1].wait()
        events[1].clear()
    taken = time.monotonic() - begin
    child.join()
    os.sched_setaffinity(0, everywhere)
    return taken


def pass_rounds(barrier, rounds):
    for _ in range(rounds):
        barrier.wait()


def barrier_rounds(parties, runs):
    barrier = context.Barrier(parties)
    children = [
        context.Process(target=pass_rounds, args=(barrier, runs + 1))
        for _ in range(parties - 1)
    ]
    for child in children:
        child.start()
    pass_rounds(barrier, 1)
    begin = time.monotonic()
    pass_rounds(barrier, runs)
    taken = time.monotonic() - begin
    for child in children:
        child.join()
    return taken


measures = {
    "semaphore": lambda runs: cycle(semaphore, runs),
    "event_is_set": is_set,
    "event_one_core": lambda runs: wake(1, runs),
    "event_two_cores": lambda runs: wake(2, runs),
    "barrier_2": lambda runs: barrier_rounds(2, runs),
    "barrier_4": lambda runs: barrier_rounds(4, runs),
    "lock": lambda runs: cycle(lock, runs),
    "rlock": lambda runs: cycle(rlock, runs),
    "lock_2": lambda runs: contended(2, runs),
    "lock_8": lambda runs: contended(8, runs),
    "condition_one_core": lambda runs: ping_pong(1, runs),
    "condition_two_cores": lambda runs: ping_pong(2, runs),
}

for line in sys.stdin:
    name, runs = line.split()
    print(measures[name](int(runs)), flush=True)
