"""A copy of what training changes: taken, kept on the host or in a file, put back exactly.

Imports engine records only; imported by `run`.
"""
