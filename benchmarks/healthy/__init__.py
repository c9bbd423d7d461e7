"""False actions over many healthy runs: how often would the controller have lowered the rate of a run that was well?

In the order of reading: :mod:`~benchmarks.healthy.plan` (which runs), :mod:`~benchmarks.healthy.record` (trains them),
:mod:`~benchmarks.healthy.logs` (what a healthy run is, decided before any detector looked), and
:mod:`~benchmarks.healthy.judge` (what the core would have done).
"""
