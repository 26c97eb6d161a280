#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Try every rule of /srv through every door, and print the table: sh contrib/acceptance.sh
# It ends with 0 if each cell is as tests/doors/rows.py has it.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
sh "$root/contrib/setup.sh" test
cd "$root"
exec .venv/bin/python -m tests.doors.acceptance
