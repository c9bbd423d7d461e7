"""How the first learning rate is found: the LR range test, the short trials after it, and the choice.

Imported by the engine and by `run`.
"""
