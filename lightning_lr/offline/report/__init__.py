"""What happened in a run: sentences, tables, pictures.

Imported by the command line.
"""
