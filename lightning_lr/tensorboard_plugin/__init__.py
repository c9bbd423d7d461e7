"""The TensorBoard tab "Learning rate": reads our summaries through TensorBoard's own data provider."""
