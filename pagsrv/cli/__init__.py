# SPDX-License-Identifier: MIT
"""The command line: argv, one call of the client library, text or JSON, an exit status.

The law: render.py alone writes to stdout and fail.py alone to stderr; what is
opened, dialled or listened on is so here, with the rights of whoever ran the
command. It refuses to know the broker, which `pagsrv broker` becomes by exec.
"""
