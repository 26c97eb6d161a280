# SPDX-License-Identifier: MIT
"""The dashboard: every namespace of a board, live, for a person at a terminal.

The law: view.py holds all that is known and all logic, and does no I/O; feed.py alone asks
the broker; widgets and screens show a View and say what was pressed. It refuses to know
what makes a broker.
"""
