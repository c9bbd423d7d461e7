"""Numbers in, decisions out: no torch, no clock, no files.

Every room may import it; it imports nothing of ours but `errors`.
"""
