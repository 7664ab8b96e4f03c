/* The cells of mp/sync/internal/condition_core.h, for spin.
 *
 * Shape:  WAITERS members wait once each, and another notifies NOTIFIES times,
 *         COUNT of them each time, while up to DEATHS of all are killed,
 *         anywhere. There are CELLS cells.
 * Steps:  each store that another can see. The lock is the one of lock.pml,
 *         taken to be right: its holder's death is reported to all who want it.
 *         A sleep ends when there is a reason to, as slices make it: wakes are
 *         not in the model.
 * Shows:  by assert(): a notification is taken once, and by one that was waiting
 *         when it was sent; none is lost; a cell is its waiter's; in the end there is no
 *         notification that one who lives should have had, which `delivered`
 *         says too. By the absence of other end states: nobody waits for
 *         anything but a notification.
 *
 * -DTIMEOUTS   the last waiter gives up at any time
 * -DBREAK_...  has one thing wrong, to see that it is found
 */

#ifndef WAITERS
#define WAITERS 3
#endif
#ifndef CELLS
#define CELLS 3
#endif
#ifndef NOTIFIES
#define NOTIFIES 1
#endif
#ifndef COUNT
#define COUNT 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#define NOTIFIER (WAITERS + 1)

mtype = { FREE, WAITING, NOTIFIED };

/* A cell's word is its state and its waiter, which change in one step. */
mtype state[3] = FREE;
byte who[3];
byte began[3];
byte notified[3];
byte moment;

bool dead[5];  /* by member id: waiters from 1 on, and NOTIFIER */
bool done[5];
byte lock;     /* who has it; abandoned if that one is dead */
byte deaths;
byte told;     /* notifications that were sent to one that lived */
byte taken;    /* those that one returned with */
byte swept;    /* those that nobody could return with any more */

#define IS_LOCK_DEAD (lock != 0 && dead[lock])

#define IS_ADRIFT(cell) \
  (state[cell] == NOTIFIED && (who[cell] == 0 || dead[who[cell]]))
#ifdef BREAK_STEAL
#define IS_FOR_ME(cell) IS_ADRIFT(cell)
#else
#define IS_FOR_ME(cell) (IS_ADRIFT(cell) && notified[cell] > began[own])
#endif
#ifdef BREAK_NO_TAKE_OVER
#define IS_SOME_FOR_ME false
#elif CELLS > 2
#define IS_SOME_FOR_ME (IS_FOR_ME(0) || IS_FOR_ME(1) || IS_FOR_ME(2))
#else
#define IS_SOME_FOR_ME (IS_FOR_ME(0) || IS_FOR_ME(1))
#endif

#ifdef TIMEOUTS
#define MAY_BE_OVER (me == WAITERS)
#else
#define MAY_BE_OVER false
#endif

/* Blocks until the lock is this member's, or it is told of a death. */
inline Acquire() {
  atomic {
    if
    :: lock == 0 -> lock = me; has_lock = true
    :: IS_LOCK_DEAD -> has_lock = false
    fi
  }
}

/* One that repairs after a death, by LockWord::AcquireAbandoned(). */
inline AcquireOrRepair() {
  atomic { lock == 0 || IS_LOCK_DEAD -> lock = me }
}

inline Release() {
  d_step { assert(lock == me); lock = 0 }
}

/* Whether one that lives was already waiting when this was sent. */
#define WAITS_FOR(cell, other)                           \
  (state[other] == WAITING && !dead[who[other]] &&       \
   began[other] < notified[cell])
#if CELLS > 2
#define IS_AWAITED(cell) \
  (WAITS_FOR(cell, 0) || WAITS_FOR(cell, 1) || WAITS_FOR(cell, 2))
#else
#define IS_AWAITED(cell) (WAITS_FOR(cell, 0) || WAITS_FOR(cell, 1))
#endif

/* Sets `own` to a cell that says so, or to NO_CELL. */
#define NO_CELL 9
inline Claim() {
  own = 0;
  do
  :: own == CELLS -> own = NO_CELL; break
  :: own < CELLS && state[own] == FREE ->
    d_step { began[own] = moment; moment++ };
    d_step { state[own] = WAITING; who[own] = me };
    break
  :: own < CELLS && state[own] != FREE -> own++
  od
}

inline Sweep() {
  i = 0;
  do
  :: i == CELLS -> break
  :: i < CELLS ->
    d_step {
      if
      :: state[i] == WAITING && dead[who[i]] -> state[i] = FREE; who[i] = 0
#ifdef BREAK_SWEEP
      :: IS_ADRIFT(i) ->
#else
      :: IS_ADRIFT(i) && !IS_AWAITED(i) ->
#endif
        swept = swept + !IS_AWAITED(i);
        state[i] = FREE;
        who[i] = 0
      :: else
      fi;
      i++
    }
  od;
  i = 0
}

/* Takes the oldest notification adrift that is this one's to take. */
inline TakeOver() {
  d_step {
    i = 0;
    oldest = NO_CELL;
    do
    :: i == CELLS -> break
    :: i < CELLS ->
      if
      :: IS_FOR_ME(i) && (oldest == NO_CELL || notified[i] < notified[oldest]) ->
        oldest = i
      :: else
      fi;
      i++
    od;
    i = 0;
    assert(notified[oldest] > began[own]);
    state[oldest] = FREE;
    who[oldest] = 0;
    taken++;
    assert(taken <= told);
    oldest = 0
  }
}

/* For the last store of a Wait(). */
inline FreeOwn() {
  assert(who[own] == me && state[own] != FREE);
  state[own] = FREE;
  who[own] = 0
}

proctype Waiter(byte me) {
  byte own, i, oldest;
  bool has_lock;
  {
    AcquireOrRepair();
    Claim();
    if
    :: own == NO_CELL -> Sweep(); Claim()
    :: else
    fi;
    if
    :: own == NO_CELL -> goto leave  /* kResourceExhausted */
    :: else
    fi;
sleep:
    Release();
    has_lock = false;
end_asleep:
    if
    :: state[own] == NOTIFIED
    :: IS_SOME_FOR_ME
    :: IS_LOCK_DEAD
    :: MAY_BE_OVER
    fi;
    Acquire();
    if
    :: !has_lock ->
#ifdef BREAK_LEAVE
      d_step { FreeOwn() };
#else
      d_step {
        if
        :: state[own] == WAITING -> FreeOwn()
        :: else -> who[own] = 0
        fi
      };
#endif
      goto end  /* kAborted */
    :: has_lock && state[own] == NOTIFIED ->
      d_step { taken++; assert(taken <= told); FreeOwn() }
    :: has_lock && state[own] != NOTIFIED && IS_SOME_FOR_ME ->
      TakeOver();
      d_step { FreeOwn() }
    :: has_lock && state[own] != NOTIFIED && !IS_SOME_FOR_ME && MAY_BE_OVER ->
      d_step { FreeOwn() }  /* kDeadlineExceeded */
    :: has_lock && state[own] != NOTIFIED && !IS_SOME_FOR_ME &&
       !MAY_BE_OVER -> goto sleep
    fi;
leave:
    Release();
end:
    done[me] = true
  } unless {
    dead[me]
  }
}

/* Sets `oldest` to the cell of the one that has waited longest, or NO_CELL. */
inline FindWaiting() {
  d_step {
    i = 0;
    oldest = NO_CELL;
    do
    :: i == CELLS -> break
    :: i < CELLS ->
      if
      :: state[i] == WAITING && (oldest == NO_CELL || began[i] < began[oldest]) ->
        oldest = i
      :: else
      fi;
      i++
    od;
    i = 0
  }
}

inline Tell() {
  d_step { notified[oldest] = moment; moment++ };
  d_step {
    is_told = (state[oldest] == WAITING);
    if
    :: is_told -> state[oldest] = NOTIFIED; told++
    :: else
    fi
  };
  d_step {
    if
    :: is_told && IS_ADRIFT(oldest) ->
      /* It was dead by then, or has died since: another gets one instead. */
      state[oldest] = FREE; who[oldest] = 0; told--; is_told = false
    :: else
    fi
  };
  d_step { count = count + is_told; is_told = false }
}

proctype Notifier(byte me) {
  byte notifies, count, i, oldest;
  bool is_told;
  {
    do
    :: notifies == NOTIFIES -> break
    :: notifies < NOTIFIES ->
      AcquireOrRepair();
      count = 0;
      do
      :: count == COUNT -> break
      :: count < COUNT ->
        FindWaiting();
        if
        :: oldest == NO_CELL -> break
        :: else -> Tell()
        fi
      od;
      oldest = 0;
      Release();
      notifies++
    od;
    done[me] = true
  } unless {
    dead[me]
  }
}

/* SIGKILL, as in lock.pml. */
active proctype Killer() {
  byte victim;
  do
  :: atomic {
    deaths < DEATHS ->
    select (victim : 1 .. NOTIFIER);
    if
    :: !dead[victim] && !done[victim] -> dead[victim] = true; deaths++
    :: else
    fi;
    victim = 0
  }
  :: break
  od
}

init {
  atomic {
    run Waiter(1);
    run Waiter(2);
#if WAITERS > 2
    run Waiter(3);
#endif
    run Notifier(NOTIFIER)
  }
}

#define IS_OWED(cell)                                    \
  (state[cell] == NOTIFIED &&                            \
   ((who[cell] != 0 && !dead[who[cell]]) || IS_AWAITED(cell)))
#if CELLS > 2
#define IS_SOME_OWED (IS_OWED(0) || IS_OWED(1) || IS_OWED(2))
#else
#define IS_SOME_OWED (IS_OWED(0) || IS_OWED(1))
#endif

/* When nobody can do anything any more. */
active proctype Monitor() {
  timeout ->
  assert(!IS_SOME_OWED);
  assert(told == taken + swept + (state[0] == NOTIFIED) +
                 (state[1] == NOTIFIED) + (state[2] == NOTIFIED))
}

/* For those that go on for ever. (With fairness, pan does not see that a claim
 * of this form is broken by a system that stands still.) */
ltl delivered { <> [] !IS_SOME_OWED }
