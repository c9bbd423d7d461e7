"""A recorded run → its readings: find the format, read its rows, choose the monitors, put the readings together.

One file for each format (`journal_reader`, `event_files`, `csv_logs`); `sources.READERS` is the list of all of them.
Imported by the rest of offline; it imports the engine.
"""
