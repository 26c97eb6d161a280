# SPDX-License-Identifier: MIT
"""The board's screen, and those that lie over it for a question.

The law: what is known is in the View and what may be done in the actions; a screen puts the
two before the viewer. It refuses to know wires.
"""
