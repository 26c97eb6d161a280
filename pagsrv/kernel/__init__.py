# SPDX-License-Identifier: MIT
"""Facts from the kernel and acts on it: thin, typed, one interface a file.

The law: a function here asks the kernel one thing, or has it do one thing, and
OSError becomes one of our own errors here. No file of this folder
decides who may do what, and none keeps state between calls except what cannot
change while the process runs.
"""
