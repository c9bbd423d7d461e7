"""What is done about each condition: one response a condition, and the presets.

Imported by the engine, `run` and the command line.
"""
