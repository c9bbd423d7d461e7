"""A learning-rate multiplier for each layer, learned from the training signal.

``layers`` names the layers of a module, ``groups`` splits the optimizer's groups by layer, ``probe`` measures, ``rule``
learns, ``layerwise_run`` is one fit, ``log`` what the loggers show of it.

Imports optim, loggers and `snapshot.shards`; imported by `callbacks`.
"""
