"""Runs that exist already: their logs are read, replayed through the engine, and reported.

Imports the engine and no torch, so that the command line starts at once. Imported by the package's own `plot` only.
The command line is `cli` (options) and `commands` (what each does).
"""
