# SPDX-License-Identifier: MIT
"""The namespace as a file system, for every program of the session.

The law: whoever asks is proved while it waits, or refused; what is opened goes to the posted
file itself, and what blocks there blocks nobody else. It refuses to know what makes a broker.
"""
