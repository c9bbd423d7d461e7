"""The engine over recorded readings.

Imported by the command line and the report.
"""
