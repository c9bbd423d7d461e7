"""What a user adds to a Trainer: hooks only.

The only room that imports Lightning. Nothing imports it.
"""
