"""What decides: numbers in, decisions out, with nothing but the standard library."""
