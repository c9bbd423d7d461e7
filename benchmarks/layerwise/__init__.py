"""Does a multiplier for each layer pay? Test loss with and without, at equal steps."""
