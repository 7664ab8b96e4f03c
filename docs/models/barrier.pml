/* The cells and the word of mp/sync/internal/barrier_core.h, for spin.
 *
 * Shape:  MEMBERS members come to a barrier of PARTIES, ROUNDS times each, while
 *         up to DEATHS of them are killed, anywhere.
 * Steps:  a look at the word or at a cell, with the compare-and-swap that
 *         follows from it; a store. Sleeps end when there is a reason to, as
 *         slices make it.
 * Shows:  by assert(): nobody is let go before all parties of its round have
 *         come; no two of a round have the same place; none leaves the place of
 *         another. By `answered`: each that lives gets its answers, unless one
 *         was killed before it ever came, of which nobody can know.
 *
 * -DACTION     there is one, which runs once in a round, before any is let go
 * -DTIMEOUTS   the last member gives up at any time
 * -DBREAK_...  has one thing wrong, to see that it is found
 */

#ifndef PARTIES
#define PARTIES 2
#endif
#ifndef MEMBERS
#define MEMBERS PARTIES
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

mtype = { NEVER, THERE, LEFT, OPEN, IN_ACTION, BROKEN };

/* The word. */
byte round;
mtype phase = OPEN;

/* A cell is all of these, which change in one step. */
mtype presence[3] = NEVER;
byte id[3];
byte came_to[3];

bool dead[4];  /* by member id, from 1 on */
bool done[4];  /* it has ended in order */
byte deaths;

/* What is true, whatever the words say. */
#define MAX_ROUNDS 8
byte came[MAX_ROUNDS];
byte acted[MAX_ROUNDS];
bool is_taken[MAX_ROUNDS * 3];  /* a place, by one that was let go from it */
bool ever_came[4];

#define IS_BEFORE(at) (came_to[at] < mine)

/* Dead, and missed. */
#ifdef BREAK_LAST_ROUND
#define IS_MISSED(at) \
  (presence[at] == THERE && came_to[at] == mine && dead[id[at]])
#else
#define IS_MISSED(at)                                                        \
  (presence[at] != NEVER && dead[id[at]] &&                                  \
   ((presence[at] == THERE && came_to[at] == mine) || came_to[at] + 1 == mine))
#endif

#define IS_PLACE(at)                                    \
  (presence[at] != THERE || (came_to[at] != mine &&     \
                             (dead[id[at]] || done[id[at]])))
#if PARTIES > 2
#define IS_SOME_MISSED (IS_MISSED(0) || IS_MISSED(1) || IS_MISSED(2))
#define IS_SOME_PLACE (IS_PLACE(0) || IS_PLACE(1) || IS_PLACE(2))
#else
#define IS_SOME_MISSED (IS_MISSED(0) || IS_MISSED(1))
#define IS_SOME_PLACE (IS_PLACE(0) || IS_PLACE(1))
#endif

#define COME                                                        \
  presence[at] = THERE; id[at] = me; came_to[at] = mine;            \
  came[mine]++;                                                     \
  ever_came[me] = true

inline Break() {
  atomic {
    if
    :: round == mine && phase != BROKEN -> phase = BROKEN
    :: else
    fi
  }
}

inline EndRound(wanted) {
  atomic {
    is_over = (round == mine && phase == wanted);
    if
    :: is_over -> round++; phase = OPEN
    :: else
    fi
  }
}

proctype Member(byte me) {
  byte at, mine, rounds;
  bool is_over;
  {
    skip;
wait:
    atomic {
      is_over = false;
      at = 0;
      mine = round;
      if
      :: rounds == ROUNDS -> goto end
      :: rounds < ROUNDS && phase == BROKEN -> goto end  /* kAborted */
      :: rounds < ROUNDS && phase == IN_ACTION -> goto await_place
      :: rounds < ROUNDS && phase == OPEN
      fi
    };

    /* ComeAgain() */
    do
    :: atomic { at == PARTIES -> at = 0; break }
    :: atomic {
      at < PARTIES ->
      if
      :: id[at] == me && presence[at] == LEFT && IS_BEFORE(at) ->
        COME;
        goto there
      :: id[at] == me && presence[at] == LEFT && !IS_BEFORE(at) -> goto wait
      :: else -> at++
      fi
    }
    od;

    /* ComeInPlaceOfAnother() */
    do
    :: atomic { at == PARTIES -> goto await_place }
    :: atomic {
      at < PARTIES ->
      if
      :: presence[at] == NEVER -> COME; goto there
      :: presence[at] == THERE && came_to[at] == mine -> at++
      :: presence[at] != NEVER && came_to[at] > mine -> goto wait
      :: presence[at] == LEFT && came_to[at] == mine -> goto wait
      :: presence[at] != NEVER && IS_BEFORE(at) ->
        if
#ifndef BREAK_PLACE_OF_ONE_THERE
        :: presence[at] == THERE && !dead[id[at]] && !done[id[at]] -> at++
#endif
        :: dead[id[at]] && came_to[at] + 1 == mine ->
          Break();
          goto wait
        :: else -> COME; goto there
        fi
      fi
    }
    od;

await_place:
    if
    :: round != mine || phase == BROKEN || (phase == OPEN && IS_SOME_PLACE)
#ifndef BREAK_AWAIT_PLACE
    :: round == mine && phase != BROKEN && IS_SOME_MISSED -> Break()
#endif
    fi;
    goto wait;

there: /* AllAreThere() */
    rounds++;
    is_over = true;
#if PARTIES > 2
    is_over = is_over && presence[2] == THERE && came_to[2] == mine;
#endif
    is_over = is_over && presence[1] == THERE && came_to[1] == mine;
    is_over = is_over && presence[0] == THERE && came_to[0] == mine;
#ifdef BREAK_NO_LOOK
    is_over = true;
#endif
    if
    :: is_over ->
#ifdef ACTION
      atomic {
        is_over = (round == mine && phase == OPEN);
        if
        :: is_over -> phase = IN_ACTION
        :: else
        fi
      };
      if
      :: is_over ->
        acted[mine]++;
        EndRound(IN_ACTION);
        is_over = false
      :: else
      fi
#else
      EndRound(OPEN)
#endif
    :: else
    fi;

    /* SleepUntilEnd(). With more members than parties, one may be the last. */
end_asleep:
    do
    :: is_over -> goto let_go
    :: atomic { !is_over && round != mine -> goto let_go }
    :: atomic { !is_over && round == mine && phase == BROKEN -> goto leave }
    :: atomic { !is_over && round == mine && phase != BROKEN && IS_SOME_MISSED };
      Break()
#ifdef TIMEOUTS
    :: atomic { !is_over && round == mine && phase != BROKEN && me == MEMBERS };
      Break();
      if
      :: round == mine -> goto leave
      :: else
      fi
#endif
    od;

let_go:
    atomic {
      assert(came[mine] >= PARTIES);
#ifdef ACTION
      assert(acted[mine] == 1);
#endif
      assert(!is_taken[mine * 3 + at]);
      is_taken[mine * 3 + at] = true
    };
leave:
    atomic {
      assert(id[at] == me && presence[at] == THERE && came_to[at] == mine);
      presence[at] = LEFT
    };
    goto wait;
end:
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
    select (victim : 1 .. MEMBERS);
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
    run Member(1);
    run Member(2);
#if MEMBERS > 2
    run Member(3)
#endif
  }
}

#define ENDED(member) (done[member] || dead[member])
#define NEVER_CAME(member) (dead[member] && !ever_came[member])
#if MEMBERS > 2
ltl answered {
  <> ((ENDED(1) && ENDED(2) && ENDED(3)) || NEVER_CAME(1) || NEVER_CAME(2) ||
      NEVER_CAME(3))
}
#else
ltl answered { <> ((ENDED(1) && ENDED(2)) || NEVER_CAME(1) || NEVER_CAME(2)) }
#endif
