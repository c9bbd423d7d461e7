"""One fit: what is planned, set up, read at each check, and undone at the end.

May import engine, optim, snapshot, loggers, metrics; never Lightning. Imported by `callbacks`.
"""
