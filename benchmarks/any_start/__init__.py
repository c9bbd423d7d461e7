"""Any start: does one untuned run end where the best tuned run of the best peer ends?

Small real tasks, each trained by each method from a learning rate × 0.01, 0.1, 1, 10 and 100, in a real Lightning
``Trainer``. A third split, which no method ever sees, gives the score.

In the order of reading: :mod:`~benchmarks.any_start.tasks` (what is trained), :mod:`~benchmarks.any_start.methods`
(by what rule), :mod:`~benchmarks.any_start.training` (one run), :mod:`~benchmarks.any_start.score` (the arithmetic).
"""
