"""The version: read by the build and by :mod:`lightning_lr`, so it imports nothing."""

__version__ = "0.1.0"
