"""What is asked of the Trainer, its strategy and its other callbacks.

The only room that touches private attributes of Lightning. Imported by `run`.
"""
