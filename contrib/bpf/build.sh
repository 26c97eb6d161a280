#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Compile the kernel's side of SO_PEERKEYRING to where the package looks for it.
# Where clang, its target bpf or libbpf's headers are not here nothing is made, and that is no
# failure: `pagsrv doctor` tells then what is missing.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
source=$root/contrib/bpf/peerkeyring.bpf.c
object=$root/pagsrv/kernel/peerkeyring.bpf.o

if ! command -v clang >/dev/null 2>&1; then
    echo 'setup: without clang there is no SO_PEERKEYRING to install; all else works.' >&2
    exit 0
fi
if ! printf '#include <bpf/bpf_helpers.h>\n' | clang -E - >/dev/null 2>&1; then
    echo 'setup: without libbpf-dev there is no SO_PEERKEYRING to install; all else works.' >&2
    exit 0
fi
# Debian keeps <asm/types.h> in a directory that only a compiler for the host looks into.
machine=$(clang -print-multiarch 2>/dev/null) || machine=$(gcc -print-multiarch 2>/dev/null) ||
    machine=$(uname -m)-linux-gnu
if ! said=$(clang -O2 -g -Wall -Wextra -Werror -target bpf -idirafter "/usr/include/$machine" \
    -c "$source" -o "$object.new" 2>&1); then
    # One of an older source would answer in another form.
    rm -f "$object" "$object.new"
    why=$(printf '%s\n' "$said" | grep -m 1 error) || why=${said:-it does not say why}
    echo "setup: this clang cannot compile SO_PEERKEYRING ($why); all else works." >&2
    exit 0
fi
mv -f "$object.new" "$object"
