#!/bin/bash
#
# Has spin check the models in docs/models, which say how the locks and the like
# of mp/sync keep their promises when processes die.
#
# usage: tools/check_models.sh [--all] [MODEL...]
#
# Each model, lock for docs/models/lock.pml, is checked in several settings, and
# each that is broken on purpose must be found to be.  Needs spin and gcc, at
# most 3 GB of memory for each processor, and two minutes of processor time;
# with --all, also the settings of more than a million states, in ten minutes.
#
# Exit status: 0 if all came out as they should.

set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

if ! command -v spin > /dev/null; then
  echo "check_models: there is no spin; the Debian package is spin" >&2
  exit 1
fi

long="/^+/d"
if [[ ${1:-} == --all ]]; then
  long="s/^+//"
  shift
fi

# A line for each run: MODEL WANTED KIND OPTION...
#   +       before it: with --all only
#   WANTED  holds, or broken
#   KIND    safety: the assertions, and that nothing stands still
#           always: as well what the model's ltl formula says, with weak fairness
runs() {
  sed "s/ *#.*//; /^\$/d; $long" << 'END'
lock holds safety
lock holds always
+lock holds safety -DDEATHS=2 -DTIMEOUTS -DGIVES_UP
lock holds always -DDEATHS=2 -DTIMEOUTS
+lock holds safety -DDEATHS=2 -DCYCLES=2 -DIGNORE
# Slices are only for the dead, and for those who gave up their turn.
lock holds always -DDEATHS=0 -DCYCLES=2 -DNO_SLICES
lock holds always -DDEATHS=0 -DCYCLES=2 -DNO_SLICES -DTIMEOUTS -DNO_HANDOVER
lock broken always -DNO_SLICES
lock broken always -DDEATHS=0 -DCYCLES=2 -DNO_SLICES -DTIMEOUTS
lock broken always -DDEATHS=0 -DCYCLES=2 -DNO_SLICES -DTIMEOUTS -DNO_HANDOVER -DBREAK_GIVE_UP
lock broken always -DDEATHS=0 -DNO_SLICES -DBREAK_WAITERS_BIT
lock broken always -DDEATHS=0 -DNO_SLICES -DBREAK_BLIND_RELEASE
lock broken safety -DBREAK_NO_REPORT
lock broken safety -DBREAK_TWO_REPAIR

+condition holds safety
+condition holds safety -DCELLS=2
condition holds safety -DWAITERS=2 -DCOUNT=2 -DDEATHS=2
condition holds always -DWAITERS=2 -DCELLS=2 -DNOTIFIES=2 -DDEATHS=2 -DTIMEOUTS
condition broken safety -DBREAK_STEAL
condition broken safety -DBREAK_NO_TAKE_OVER
condition broken safety -DBREAK_LEAVE
condition broken safety -DCELLS=2 -DBREAK_SWEEP

semaphore holds always
semaphore holds safety -DUNITS=2 -DTIMEOUTS
+semaphore holds safety -DUNITS=2 -DDEATHS=2
+semaphore holds safety -DDEATHS=2 -DTIMEOUTS
# Slices are only for the dead.
semaphore holds always -DDEATHS=0 -DNO_SLICES
semaphore holds always -DDEATHS=0 -DPROCESSES=2 -DCYCLES=3 -DNO_SLICES
semaphore holds always -DDEATHS=0 -DUNITS=2 -DNO_SLICES -DTIMEOUTS
semaphore broken always -DNO_SLICES
semaphore broken always -DBREAK_GIVE_BACK
semaphore broken always -DDEATHS=0 -DNO_SLICES -DBREAK_WAKE
semaphore broken always -DDEATHS=0 -DNO_SLICES -DBREAK_LOOK_AGAIN
semaphore broken always -DDEATHS=0 -DCYCLES=2 -DNO_SLICES -DBREAK_EXPECTED
semaphore broken always -DDEATHS=0 -DCYCLES=2 -DNO_SLICES -DBREAK_WAKE_ALL

barrier holds always
barrier holds always -DDEATHS=2 -DTIMEOUTS -DACTION
+barrier holds safety -DPARTIES=3
+barrier holds safety -DMEMBERS=3
+barrier holds safety -DMEMBERS=3 -DROUNDS=1 -DDEATHS=2 -DTIMEOUTS -DACTION
barrier broken always -DBREAK_LAST_ROUND
barrier broken safety -DBREAK_NO_LOOK
barrier broken safety -DMEMBERS=3 -DBREAK_PLACE_OF_ONE_THERE
barrier broken safety -DMEMBERS=3 -DROUNDS=1 -DDEATHS=2 -DBREAK_AWAIT_PLACE

queue holds safety -DSLEEPS=2
+queue holds safety
+queue holds safety -DSLEEPS=4 -DDEATHS=1 -DSLICES
queue broken safety -DMESSAGES=2 -DSLEEPS=8 -DDEATHS=1
queue broken safety -DMESSAGES=2 -DSLEEPS=8 -DBREAK_NO_LOOK
queue broken safety -DMESSAGES=2 -DSLEEPS=8 -DBREAK_NO_TICKET
queue broken safety -DMESSAGES=2 -DSLEEPS=8 -DBREAK_CLEAR_FIRST
queue broken safety -DMESSAGES=2 -DSLEEPS=8 -DBREAK_BLIND_CLEAR
queue broken safety -DBREAK_ALONE
END
}

# Prints one line, and more if it is not as wanted.
check() {
  local model=$1 wanted=$2 kind=$3 found folder
  shift 3
  folder=$(mktemp --directory --tmpdir="$scratch")
  cd "$folder"
  local compile=(-DSAFETY -DNOCLAIM) run=()
  if [[ $kind == always ]]; then
    compile=(-DNFAIR=3)
    run=(-a -f)
  fi
  if ! { spin -a "$@" "$models/$model.pml" &&
    gcc -w -O2 -DCOLLAPSE -DMEMLIM=3000 "${compile[@]}" -o pan pan.c &&
    ./pan "${run[@]}" -m1000000; } &> log; then
    echo "FAILED  $model $kind $*: the checker ended with an error"
    tail --lines=20 log
    return 1
  fi
  found=undecided
  ! grep --quiet 'errors: [1-9]' log || found=broken
  if grep --quiet 'errors: 0' log; then
    found=holds
    # What was not checked to its end was not checked.
    ! grep --quiet 'search depth too small\|memory limit' log || found=undecided
  fi
  if [[ $found != "$wanted" ]]; then
    echo "FAILED  $model $kind $*: it is '$found', and should be '$wanted'"
    grep '^pan:' log || true
    return 1
  fi
  printf '%-6s %-10s %6s  %9.0f states  %s\n' "$found" "$model" "$kind" \
    "$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' log)" "$*"
  rm -- *
}
export -f check

models=$PWD/docs/models
scratch=$(mktemp --directory --tmpdir check_models.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
export models scratch

for model in "$@"; do
  if ! runs | grep --quiet "^$model "; then
    echo "check_models: there is no model $model" >&2
    exit 2
  fi
done
only=$(IFS='|' && echo "$*")
runs | grep --extended-regexp "^(${only:-.*}) " |
  xargs --max-procs="$(nproc)" --replace bash -c 'set -euo pipefail; check {}'
