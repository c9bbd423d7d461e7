"""What is written: the journal file, and what the Trainer's loggers show of it.

``journal_file`` writes one line a check, ``decision_logger`` the loggers' numbers; the decisions stand in a table
(``tables``) and in the data of the TensorBoard tab (``tensorboard``). ``decision_history`` keeps the newest of them.

Imports engine and the tab's page format; imported by `run`, `layerwise` and `callbacks`.
"""
