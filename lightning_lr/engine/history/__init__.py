"""What the engine remembers: one history a metric, all of them side by side, and the statistics they are read with.

Imports records and vocabulary; imported by the detectors and the engine.
"""
