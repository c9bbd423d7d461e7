"""What drives a Trainer with the core: torch from here on, Lightning only in the callback files."""
