"""Runs that exist already: read, replayed, reported.

Imports the engine only; no torch.
"""
