"""The tab "Learning rate" of TensorBoard: the pages that a run writes, their reader, the routes, and the page itself.

It reads our summaries through TensorBoard's own data provider. It imports the engine only, and no torch.
`loggers` imports `pages`, the format that writer and reader share; TensorBoard loads `plugin`; nothing else imports it.
"""
