"""What is written: the journal file, loggers' numbers, tables, and the data of the TensorBoard tab.

Imports engine and the tab's page format; imported by `run`.
"""
