"""Readers: one file a format.

Imported by replay, report and the command line.
"""
