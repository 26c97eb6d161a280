# SPDX-License-Identifier: MIT
"""The ladder of proofs: evidence, from the kernel, that a peer is in a scope.

    kernel       the peer's session keyring as of connect(2); nothing is asked of the peer
    possession   the peer writes what we ask for into the ring; no privilege, no set-up
    groups       a PAG, by its number among the supplementary groups
    user         the uid: SO_PEERCRED, always there

The law: a file is one proof; it says yes, or no and why in one sentence, and not
knowing is no. A proof refuses to know what it opens: policy does.
"""
