# SPDX-License-Identifier: MIT
"""What is on the screen, one part a file.

The law: a widget shows what it is given and says what was pressed. It refuses to know
where anything comes from.
"""
