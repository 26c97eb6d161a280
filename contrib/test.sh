#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Set up, then run the tests: sh contrib/test.sh [pytest's arguments].
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
sh contrib/setup.sh test
# The adversaries in the tests open many descriptors; a lower limit of ours is not what they test.
# shellcheck disable=SC3045  # dash, bash and busybox all have it
ulimit -n "$(ulimit -H -n)"
exec .venv/bin/python -m pytest "$@"
