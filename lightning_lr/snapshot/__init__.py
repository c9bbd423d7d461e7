"""A copy of what training changes on this rank: taken, kept in memory or in a file, put back to the last bit.

``snapshot`` has the whole of it: ``Snapshot.now`` (``shards``: which tensors there are on this rank; ``capture``: copy
them to the host, each once, with a plain description of how they hang together) and ``Snapshot.restore`` (``restore``:
plan, check, allocate, then write into the very tensors of the training). ``files`` keeps snapshots on a disk.

Imports engine records only; imported by `run`, `layerwise` and `callbacks`.
"""
