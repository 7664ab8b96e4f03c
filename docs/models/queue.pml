/* How those that put wake those that get: mp/base/parking.h, for spin.
 *
 * Shape:  PUTTERS put MESSAGES each, GETTERS get until all are taken. Up to DEATHS
 *         of those that put are killed between a message and its wake.
 * Steps:  each load, store and compare-and-swap of the word, and each system
 *         call. What is done under one of the two locks is one step, as nobody
 *         else sees it before the count is stored.
 * Shows:  by the absence of other end states: nobody sleeps while there is a
 *         message that he should have had, and nobody is needed to look now
 *         and then. By assert(): the bit is not cleared while somebody sleeps.
 *
 * -DSLICES     those that sleep wake up by themselves at any time
 * -DBREAK_...  has one thing wrong, to see that it is found
 */

#ifndef PUTTERS
#define PUTTERS 2
#endif
#ifndef GETTERS
#define GETTERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 1
#endif
#ifndef DEATHS
#define DEATHS 0
#endif

/* Those that get look again whenever the word has changed, as often as it does.
 * What comes after so many sleeps is not in the model. */
#ifndef SLEEPS
#define SLEEPS 6
#endif

#define ALL (PUTTERS * MESSAGES)
#define IS_OVER (taken == ALL || sleepers >= SLEEPS)

byte published;
byte taken;
byte deaths;

/* The word. */
byte sleepers;
byte wakes;
bool may_sleep;

/* Who sleeps in the kernel. */
bool asleep[GETTERS];
byte many;

#define IS_READY (published > taken || IS_OVER)

/* Wake(spot, 1). */
inline wake_one() {
  if
  :: !may_sleep
  :: may_sleep ->
    atomic {
      if
      :: may_sleep -> wakes++; mine_s = sleepers; mine_w = wakes; is_mine = true
      :: else -> is_mine = false
      fi
    }
#ifdef BREAK_CLEAR_FIRST
    may_sleep = false;
#endif
    if
    :: !is_mine
    :: is_mine ->
      atomic { /* FUTEX_WAKE */
        woken = many > 0;
        if
        :: many == 0
        :: asleep[0] -> asleep[0] = false; many--
#if GETTERS > 1
        :: asleep[1] -> asleep[1] = false; many--
#endif
#if GETTERS > 2
        :: asleep[2] -> asleep[2] = false; many--
#endif
        fi
      }
      if
      :: woken
      :: !woken ->
        atomic {
          if
#ifdef BREAK_BLIND_CLEAR
          :: may_sleep = false
#else
          :: may_sleep && sleepers == mine_s && wakes == mine_w ->
            may_sleep = false;
            assert(many == 0)
          :: else
#endif
          fi
        }
      fi
    fi
  fi;
  woken = false;
  is_mine = false;
  mine_s = 0;
  mine_w = 0
}

proctype putter() {
  byte i;
  byte mine_s, mine_w;
  bool woken, is_mine;
  do
  :: i < MESSAGES ->
    atomic { published++; i++ }
    if
    :: deaths < DEATHS -> atomic {
        deaths++;
        /* What it would have put, another does. */
        published = published + MESSAGES - i;
        i = MESSAGES
      }
    :: wake_one()
    fi
  :: else -> break
  od
}

proctype getter(byte me) {
  byte ticket, ticket_wakes;
  byte mine_s, mine_w;
  bool woken, is_mine, alone, got, more;
again:
  atomic {
    got = published > taken;
    if
    :: got -> taken++
    :: else
    fi;
    more = published > taken
  }
  if
  :: got && more ->
    wake_one();
    goto again
  :: got && !more -> goto again
  :: !got && IS_OVER -> goto over
  :: !got && !IS_OVER
  fi;

  /* Sleep::Sleep() */
  atomic {
    alone = !may_sleep;
#ifndef BREAK_NO_TICKET
    sleepers++;
#endif
    may_sleep = true;
    ticket = sleepers;
    ticket_wakes = wakes
  }
  /* Sleep::Wait() */
  if
#ifndef BREAK_NO_LOOK
  :: IS_READY
#endif
  :: else ->
    atomic { /* FUTEX_WAIT */
      if
      :: sleepers == ticket && wakes == ticket_wakes && may_sleep ->
        asleep[me] = true;
        many++
      :: else
      fi
    }
    if
    :: !asleep[me]
#ifdef SLICES
    :: atomic { asleep[me] -> asleep[me] = false; many-- }
#endif
    fi
  fi;
  /* Sleep::~Sleep() */
  if
  :: !alone
  :: alone ->
    atomic {
      if
#ifdef BREAK_ALONE
      :: may_sleep = false; assert(many == 0)
#else
      :: sleepers == ticket -> may_sleep = false; assert(many == 0)
      :: else
#endif
      fi
    }
  fi;
  goto again;
over:
  /* The end of the queue wakes all; see Shutdown(). */
  atomic {
    wakes++;
    asleep[0] = false;
#if GETTERS > 1
    asleep[1] = false;
#endif
#if GETTERS > 2
    asleep[2] = false;
#endif
    many = 0
  }
}

init {
  atomic {
    byte i = 0;
    do
    :: i < PUTTERS -> run putter(); i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < GETTERS -> run getter(i); i++
    :: else -> break
    od
  }
}
