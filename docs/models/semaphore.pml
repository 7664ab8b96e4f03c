/* The bounded semaphore of mp/sync/internal/semaphore_core.h, for spin.
 *
 * Shape:  PROCESSES members take one of UNITS units, do something and give it
 *         back, CYCLES times each, while up to DEATHS of them are killed,
 *         anywhere.
 * Steps:  each load, store and compare-and-swap, and each system call. (A
 *         compare-and-swap that fails leads to another look.)
 * Shows:  by assert(): no more have a unit than there are, and each gives back
 *         the one that it has. By `answered`: each that lives gets its units, of
 *         which those of the dead are some.
 *
 * -DNO_SLICES    a sleep is ended by a wake alone
 * -DTIMEOUTS     the last member gives up at any time that it waits
 * -DBREAK_...    has one thing wrong, to see that it is found
 */

#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef UNITS
#define UNITS 1
#endif
#ifndef CYCLES
#define CYCLES 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

/* The cells of the units: who has one, 0 for nobody. */
byte cell[2];

/* Bit 0: somebody may sleep. Above: how often that was taken back. */
byte sleepers;

/* By member id, 1 to PROCESSES. */
bool dead[4];
bool done[4];
bool asleep[4];

/* What is true, whatever the cells say. */
bool has_unit[4];
byte deaths;

#define LIVE_HOLDERS (has_unit[1] + has_unit[2] + has_unit[3])

/* SemaphoreCore::Take(): one cell after the other. */
#define TRY(i)                             \
  atomic {                                 \
    if                                     \
    :: cell[i] == 0 ->                     \
      cell[i] = me;                        \
      has_unit[me] = true;                 \
      assert(LIVE_HOLDERS <= UNITS);       \
      goto held                            \
    :: else                                \
    fi                                     \
  }
#if UNITS > 1
#define TAKE TRY(0); TRY(1)
#else
#define TAKE TRY(0)
#endif

/* The kernel wakes any one. */
inline FutexWakeOne() {
  atomic {
    if
    :: asleep[1] -> asleep[1] = false; woken = true
    :: asleep[2] -> asleep[2] = false; woken = true
    :: asleep[3] -> asleep[3] = false; woken = true
    :: else -> woken = false
    fi
  }
}

inline FutexWakeAll() {
  d_step { asleep[1] = false; asleep[2] = false; asleep[3] = false }
}

/* SemaphoreCore::WakeOne() and WakeOneSlowly(). */
inline WakeOne() {
  if
  :: (sleepers & 1) ->
    seen = sleepers;
    FutexWakeOne();
    if
    :: !woken && (seen & 1) ->
      atomic { woken = (sleepers == seen); if :: woken -> sleepers++ :: else fi };
      if
#ifndef BREAK_WAKE_ALL
      :: woken -> FutexWakeAll()
#endif
      :: else
      fi
    :: else
    fi
  :: else
  fi;
  atomic { seen = 0; woken = false }
}

/* SemaphoreCore::GiveBackOfTheDead(). */
#ifdef BREAK_GIVE_BACK
#define GIVE_BACK(i) skip
#else
#define GIVE_BACK(i)                                             \
  atomic {                                                       \
    freed = (cell[i] != 0 && dead[cell[i]]);                     \
    if :: freed -> cell[i] = 0 :: else fi                        \
  };                                                             \
  if :: freed -> WakeOne() :: else fi;                           \
  freed = false
#endif

proctype Member(byte me) {
  byte expected, cycles, seen;
  bool is_to_look, is_over, woken, freed;
  {
    skip;
acquire:
    if
    :: cycles == CYCLES -> goto end
    :: else
    fi;
    TAKE;

look:
    if
    :: is_to_look || is_over ->
      GIVE_BACK(0);
#if UNITS > 1
      GIVE_BACK(1);
#endif
      TAKE;
      is_to_look = false;
      if
      :: is_over -> goto end  /* It answered kDeadlineExceeded. */
      :: else
      fi
    :: else
    fi;
    atomic { sleepers = sleepers | 1; expected = sleepers };
#ifndef BREAK_LOOK_AGAIN
    TAKE;
#endif
    /* futex(2), FUTEX_WAIT. */
#ifdef BREAK_EXPECTED
    atomic { asleep[me] = true; expected = 0 };
#else
    atomic { asleep[me] = (sleepers == expected); expected = 0 };
#endif
    atomic {
      if
      :: !asleep[me]
      :: !asleep[me] -> is_to_look = true
#ifndef NO_SLICES
      :: asleep[me] -> asleep[me] = false; is_to_look = true
#endif
#ifdef TIMEOUTS
      :: me == PROCESSES -> asleep[me] = false; is_over = true
#endif
      fi
    };
    TAKE;
    goto look;

held:
    atomic { is_to_look = false; is_over = false; expected = 0; cycles++ };
    atomic {
      assert(has_unit[me]);
      has_unit[me] = false;
      if
      :: cell[0] == me -> cell[0] = 0
      :: else -> assert(cell[1] == me); cell[1] = 0
      fi
    };
#ifndef BREAK_WAKE
    WakeOne();
#endif
    goto acquire;

end:
    done[me] = true
  } unless {
    dead[me]
  }
}

/* SIGKILL. What the kernel does then is one step: nobody can see a process that
 * is dead do anything. */
active proctype Killer() {
  byte victim;
  do
  :: atomic {
    deaths < DEATHS ->
    select (victim : 1 .. PROCESSES);
    if
    :: !dead[victim] && !done[victim] ->
      dead[victim] = true;
      asleep[victim] = false;
      has_unit[victim] = false;
      deaths++
    :: else
    fi;
    victim = 0
  }
  :: break
  od
}

init {
  atomic {
    run Member(1);
    run Member(2);
#if PROCESSES > 2
    run Member(3)
#endif
  }
}

#define ENDED(member) (done[member] || dead[member])
#if PROCESSES > 2
ltl answered { <> (ENDED(1) && ENDED(2) && ENDED(3)) }
#else
ltl answered { <> (ENDED(1) && ENDED(2)) }
#endif
