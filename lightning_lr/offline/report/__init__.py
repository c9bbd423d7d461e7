"""What a run shows: what each change of the rate brought, which rates performed well, advice; as text, page and figure.

Imported by the command line, `replay` and `plot`; it imports the engine and `logs`.
`run_summary` and the three files that judge it hold numbers and sentences; the other files show them.
"""
