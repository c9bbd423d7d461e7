"""Each benchmark is one folder, one command and one table."""
