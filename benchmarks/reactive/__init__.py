"""What is a reactive rule worth if the learning rate is constant otherwise? The outcome, on held-out data."""
