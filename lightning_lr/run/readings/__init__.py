"""What one check reads: fresh metrics, training losses, probes, and how the ranks add them up.

Imported by `run`.
"""
