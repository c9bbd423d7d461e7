"""What the callback costs: time a step and a check, memory, import, and how that grows."""
