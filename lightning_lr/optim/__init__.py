"""The one place that writes a learning rate into an optimizer.

Imports engine records and bounds; imported by `run`, `layerwise` and `callbacks`.
"""
