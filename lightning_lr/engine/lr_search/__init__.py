"""The first learning rate: read off the loss along the first update, then watched.

``optimizer_kind`` what must be known of an optimizer, ``finder`` which multiple of the update to read next and what the
readings come to, ``guard`` what becomes of a rate that was moved, ``decisions`` the proposals that follow.

Numbers in, numbers out: imported by the engine and by `run`.
"""
