# SPDX-License-Identifier: MIT
"""Ways in for programs that do not speak our protocol.

The law: every door is a client of the broker, in a process of its own, with the rights of
whoever started it; none widens a scope. It refuses to know what makes a broker.
"""
