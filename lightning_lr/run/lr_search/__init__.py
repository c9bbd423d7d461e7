"""The search for the first learning rate, live: the first update is kept, and the loss is read along it.

``search`` goes through it step by step, ``fixed_batches`` and ``before_training`` are what the loss is read on,
``first_update`` moves the weights, ``loss_reader`` calls ``training_step`` with everything put back afterwards
(``contained``, ``kept_state``), ``loss_watch`` looks at the losses of the steps that follow, ``optimizer_kinds``
distinguishes torch's optimizers.

Imported by `run` alone.
"""
