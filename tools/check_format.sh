#!/bin/bash
#
# Checks how the files that git tracks are laid out.
#
# usage: tools/check_format.sh [--fix]
#
# clang-format reads C++ and protocol buffers.  buildifier reads Bazel's files,
# where there is one: $BUILDIFIER, or buildifier on the path.
#
# Exit status: 0 if nothing is amiss; with --fix, if all of it was mended.

set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

clang_format=(clang-format --dry-run --Werror)
buildifier=("${BUILDIFIER:-buildifier}" -mode=check -lint=warn)
case ${1:-} in
  "") ;;
  --fix)
    clang_format=(clang-format -i)
    buildifier=("${BUILDIFIER:-buildifier}" -mode=fix -lint=fix)
    ;;
  *)
    echo "usage: tools/check_format.sh [--fix]" >&2
    exit 2
    ;;
esac

# Prints the tracked files that match, each followed by a NUL.
tracked() {
  # In a container, the checkout may be another user's.
  git -c safe.directory='*' ls-files -z -- "$@"
}

if ! command -v clang-format > /dev/null; then
  echo "check_format: there is no clang-format; the Debian package is clang-format" >&2
  exit 1
fi
failed=0
tracked '*.h' '*.cc' '*.proto' |
  xargs -0 --no-run-if-empty "${clang_format[@]}" || failed=1

if command -v "${buildifier[0]}" > /dev/null; then
  tracked BUILD '*/BUILD' '*.bzl' '*MODULE.bazel' '*WORKSPACE' |
    xargs -0 --no-run-if-empty "${buildifier[@]}" || failed=1
elif [[ -n ${BUILDIFIER:-} ]]; then
  echo "check_format: there is no $BUILDIFIER" >&2
  failed=1
else
  echo "check_format: NOT CHECKED: Bazel's files, for want of buildifier" >&2
fi
exit "$failed"
