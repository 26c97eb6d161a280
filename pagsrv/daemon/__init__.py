# SPDX-License-Identifier: MIT
"""The process around the broker: sockets, epoll, facts in and effects out.

The law: one thread, no await inside a turn, no judgement of its own. It refuses
to know the client library and the command line.
"""
