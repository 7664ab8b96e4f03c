#!/bin/bash
#
# Runs all fuzzers, as many at once as there are processors.
#
# usage: tools/run_fuzzers.sh SECONDS DIRECTORY [BAZEL_OPTION...]
#
# Each runs for SECONDS, or until it finds an input that its target does not
# survive.  DIRECTORY gets three things for each: NAME.log, the inputs found, in
# the folder NAME, and the fatal one, NAME-crash-HASH.
#
# Exit status: 0 if all targets survived, and also where there are no fuzzers.

set -euo pipefail
if (($# < 2)); then
  echo "usage: tools/run_fuzzers.sh SECONDS DIRECTORY [BAZEL_OPTION...]" >&2
  exit 2
fi
seconds=$1
mkdir -p "$2"
directory=$(readlink -f "$2")
options=("${@:3}")
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

# Runs the fuzzer that Bazel wrote a script for.
fuzz() {
  local name=$1 log=$directory/$1.log status=0
  mkdir -p "$directory/$name"
  "$directory/$name.sh" "-max_total_time=$seconds" -timeout=10 \
    "-artifact_prefix=$directory/$name-" "$directory/$name" &> "$log" || status=$?
  # In one write each, as others print at the same time.
  if ((status)); then
    echo "$name: FAILED"$'\n'"$(tail --lines=60 "$log")"
  else
    echo "$name: $(grep ' cov: ' "$log" | tail --lines=1)"
  fi
  return "$status"
}
export -f fuzz
export directory seconds

labels=$(./bazelw query --noshow_progress "attr(tags, '\\bfuzzer\\b', //...)")
if [[ -z $labels ]]; then
  echo "there are no fuzzers"
  exit
fi
names=()
for label in $labels; do
  name=$(tr / _ <<< "${label#//}")
  name=${name//:/_}
  ./bazelw run --config=fuzz --noshow_progress "${options[@]}" \
    --script_path="$directory/$name.sh" "$label" |&
    sed '/Cannot export local symbol/d'  # gold says so hundreds of times
  names+=("$name")
done
printf '%s\n' "${names[@]}" |
  xargs --max-procs="$(nproc)" --replace bash -c 'fuzz {}'
