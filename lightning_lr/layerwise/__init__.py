"""A learning-rate multiplier for each layer, learned from the training signal.

Imports engine, optim, and `run.distributed`; imported by `callbacks`.
"""
