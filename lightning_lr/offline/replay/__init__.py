"""The engine over recorded readings, with the run's own settings or with others.

Imported by the command line and the demo; it imports the engine, `logs` and the tables of `report`.
The readings never change: how the metrics would have gone at another rate is not known.
"""
