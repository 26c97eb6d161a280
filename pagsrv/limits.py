# SPDX-License-Identifier: MIT
"""Every number a peer can push against, each with its reason.

The law: constants and one frozen set of them that a configuration may change;
no code. It refuses to know who is charged.
"""

from __future__ import annotations

from typing import NamedTuple

MESSAGE_BYTES = 64 * 1024
"""Largest message, in bytes: one packet of SEQPACKET must fit the default SO_SNDBUF (208 KiB)."""

MESSAGE_FDS = 253
"""SCM_MAX_FD of the kernel (include/net/scm.h); 254 are refused by sendmsg(2) with EINVAL."""

NAME_BYTES = 255
"""NAME_MAX of limits.h: the file-system doors show entry names as file names."""

PATH_BYTES = 4095
"""PATH_MAX of limits.h without its NUL: the kernel takes no longer path beneath a directory."""

NODES_BYTES = 48 * 1024
"""What one answer to Walk tells of a directory, encoded: a reply stays below one message."""

WALK_SECONDS = 3
"""How long a file system may take for what is opened or listed beneath a posted directory."""

LABELS = 16
LABEL_KEY_BYTES = 64
LABEL_VALUE_BYTES = 256
"""Labels are for a few facts; with these, any one entry stays far below one message."""

ENDS = 16
"""End conditions of one entry: there are ten kinds, some of which may name several processes."""

SCOPES_ASKED = 16
"""Scopes named in one Attach: a peer is in three at most, the rest is room for asking."""

TTL_SECONDS = 10 * 365 * 86400
"""Longest ttl or timeout, in seconds: ten years, so that sums never leave the clock's range."""

OPENS = 1 << 53
"""Largest opens=N: the integers every JSON reader keeps exactly (RFC 8259 §6)."""

OUT_QUEUE_BYTES = 1024 * 1024
"""Bytes waiting for one slow reader before its connection is no longer read."""

OUT_QUEUE_FDS = 1024
"""Descriptors sent to one reader and not known to be read: in flight they cost no SO_SNDBUF."""

EVENTS_QUEUED = 1024
"""Events waiting for one slow watcher before further ones are counted as lost."""

NONCE_SECONDS = 0.25
"""How long one nonce blocks the next for the same ring: a proof takes about 10 µs of calls."""

NONCE_LIFE = 5.0
"""How long a nonce that nobody waits behind may be answered, in seconds."""

UNVERIFIABLE_SECONDS = 10.0
"""Grace of a ring that the broker may no longer look at."""

OPENERS = 8
"""Processes kept of each entry that opened it: who did so before is in the events only."""

BUDGETS_SHOWN = 16
"""Budgets in one answer to Health, the fullest first: all uids of a machine are too many."""

RING_KEYS = 4096
"""Keys looked at in one ring while searching the proof key: the user quota is 200."""


class Limits(NamedTuple):
    """Budgets, each per uid first: any process can mint fresh rings, so scopes are not enough."""

    connections_per_uid: int = 1024
    entries_per_uid: int = 16384
    entries_per_scope: int = 16384
    namespaces_per_uid: int = 256
    watches_per_uid: int = 64
    processes_per_uid: int = 1024
    grants_per_entry: int = 16
    grants_per_uid: int = 1024
