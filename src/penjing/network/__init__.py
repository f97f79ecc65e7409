"""From a model to its operator graph, its tensors and its axes."""
