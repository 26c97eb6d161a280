# SPDX-License-Identifier: MIT
"""The service's side: a token on stdin, and whose credentials made it on stdout.

The law: the name is what the ticket says after the service's own key has opened it. It
refuses to know how the token came here.
"""

from __future__ import annotations

import base64
import sys

import gssapi

if __name__ == "__main__":
    context = gssapi.SecurityContext(usage="accept", creds=gssapi.Credentials(usage="accept"))
    context.step(base64.b64decode(sys.stdin.read().strip(), validate=True))
    sys.stdout.write(f"{context.initiator_name}\n")
