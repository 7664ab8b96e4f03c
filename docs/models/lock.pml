/* The lock word of mp/sync/internal/lock_word.h, for spin.
 *
 * Shape:  PROCESSES members take the lock, do something and release it, CYCLES
 *         times each, while up to DEATHS of them are killed, anywhere.
 * Steps:  a look at the word with the compare-and-swap that follows from it, and
 *         each system call. (A compare-and-swap that fails changes nothing and
 *         leads to another look, so it needs no step.)
 * Shows:  by assert(): mutual exclusion; nobody gets a lock that is abandoned
 *         and not repaired; none is called abandoned that is not; one repairs
 *         at a time. By `answered`: each that lives gets its answers.
 *
 * -DNO_SLICES    a sleep is ended by a wake alone
 * -DNO_HANDOVER  nobody is impatient
 * -DTIMEOUTS     the last member gives up at any time
 * -DGIVES_UP     a repair may be left undone
 * -DIGNORE       Options.on_owner_death is kIgnore
 * -DBREAK_...    has one thing wrong, to see that it is found
 */

#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef CYCLES
#define CYCLES 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

/* The word: who holds it, 0 for nobody, and LockWord's three bits. */
#define OWNER 7
#define WAITERS 8
#define ABANDONED 16
#define HANDOVER 32
byte word;

/* By member id, 1 to PROCESSES. */
bool dead[4];
bool done[4];
bool asleep[4];

/* What is true, whatever the word says. */
byte holder;        /* who lives and has it */
bool is_half_done;  /* a holder was killed, and nobody has repaired it */
byte deaths;
byte given_up;

#define IS_OWNER_DEAD ((word & OWNER) && dead[word & OWNER])
#define IS_FREE ((word & (OWNER | ABANDONED)) == 0)
#define IS_ABANDONED \
  ((word & ABANDONED) && ((word & OWNER) == 0 || IS_OWNER_DEAD))

#ifdef TIMEOUTS
#define MAY_BE_OVER (me == PROCESSES)
#else
#define MAY_BE_OVER false
#endif

#define MAY_TAKE (IS_FREE && (!(word & HANDOVER) || has_slept))

#ifdef NO_HANDOVER
#define ASK_FOR_HANDOVER 0
#else
#define ASK_FOR_HANDOVER HANDOVER
#endif

#ifdef BREAK_WAITERS_BIT
#define TAKEN me
#else
#define TAKEN (me | (has_slept -> WAITERS : word & WAITERS))
#endif

#define TAKE(condition)             \
  assert(holder == 0 && condition); \
  word = TAKEN;                     \
  holder = me;                      \
  FORGET

#define FORGET has_slept = false; is_impatient = false; is_to_look = false

/* The kernel wakes any one. */
inline WakeOne() {
  atomic {
    if
    :: asleep[1] -> asleep[1] = false
    :: asleep[2] -> asleep[2] = false
    :: asleep[3] -> asleep[3] = false
    :: else
    fi
  }
}

inline WakeAll() {
  d_step { asleep[1] = false; asleep[2] = false; asleep[3] = false }
}

proctype Member(byte me) {
  byte expected, cycles;
  bool has_slept, is_impatient, is_to_look, is_free;
  bool was_waited_for, was_abandoned;
  {
    skip;
acquire:
    atomic {
      if
      :: cycles == CYCLES -> goto end
      :: else
      fi;
      if
      :: MAY_TAKE || (IS_FREE && MAY_BE_OVER) -> TAKE(!is_half_done); goto held
      :: IS_ABANDONED -> FORGET; goto repair
      :: !(word & ABANDONED) && IS_OWNER_DEAD && (is_to_look || MAY_BE_OVER) ->
#if defined(IGNORE)
        is_half_done = false;
        TAKE(true);
        goto held
#elif defined(BREAK_NO_REPORT)
        TAKE(!is_half_done);
        goto held
#else
        word = word | ABANDONED;
        assert(is_half_done);
        goto report
#endif
      :: !MAY_TAKE && !IS_ABANDONED && !IS_OWNER_DEAD && MAY_BE_OVER ->
        goto give_up
      :: !MAY_TAKE && !IS_ABANDONED && !(IS_OWNER_DEAD && is_to_look) ->
        is_impatient = is_impatient || is_to_look;
        is_to_look = false;
        word = word | WAITERS | (is_impatient -> ASK_FOR_HANDOVER : 0);
        expected = word
      fi
    };

    /* futex(2), FUTEX_WAIT. It is time to look at the end of a slice, which may
       also have been over when the wake came. */
    atomic { asleep[me] = (word == expected); expected = 0 };
    atomic {
      if
      :: !asleep[me]
      :: !asleep[me] -> is_to_look = true
#ifndef NO_SLICES
      :: asleep[me] -> asleep[me] = false; is_to_look = true
#endif
      fi;
      has_slept = true;
      goto acquire
    };

give_up: /* It answered kDeadlineExceeded, if all of this is done. */
    if
    :: !has_slept
    :: has_slept ->
#ifndef BREAK_GIVE_UP
      atomic { is_free = (word & OWNER) == 0; word = word | WAITERS };
      if
      :: is_free -> WakeOne()
      :: else
      fi
#endif
    fi;
    atomic { FORGET; is_free = false; cycles++; goto acquire };

report:
    WakeAll();
    goto acquire;

repair: /* It answered kAborted. */
    atomic {
      if
      :: IS_OWNER_DEAD && !(word & ABANDONED) ->
        word = word | ABANDONED;
        assert(is_half_done);
        goto report_and_repair
#ifdef BREAK_TWO_REPAIR
      :: (word & ABANDONED) ->
#else
      :: IS_ABANDONED ->
#endif
        word = me | (word & (WAITERS | HANDOVER | ABANDONED));
        assert(holder == 0 && is_half_done);
        holder = me
      :: else -> goto acquire  /* kFailedPrecondition */
      fi
    };
    if
    :: atomic {
      word = word & ~ABANDONED; is_half_done = false; goto release
    }
#ifdef GIVES_UP
    :: atomic { given_up < 1 -> given_up++; goto release }
#endif
    fi;

report_and_repair:
    WakeAll();
    goto repair;

held:
    cycles++;

release:
    assert(holder == me);
#ifdef BREAK_BLIND_RELEASE
    was_waited_for = (word & WAITERS) != 0;
    atomic { word = 0; holder = 0 };
#else
    atomic {
      was_waited_for = (word & WAITERS) != 0;
      was_abandoned = (word & ABANDONED) != 0;
      word = (word & (ABANDONED | HANDOVER)) |
             ((word & HANDOVER) -> word & WAITERS : 0);
      holder = 0
    };
#endif
    if
    :: was_waited_for && was_abandoned -> WakeAll()
    :: was_waited_for && !was_abandoned -> WakeOne()
    :: else
    fi;
    atomic { was_waited_for = false; was_abandoned = false; goto acquire };

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
      deaths++;
      if
      :: holder == victim -> is_half_done = true; holder = 0
      :: else
      fi
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
