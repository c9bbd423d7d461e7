"""What runs the core over logs that exist already; never torch."""
