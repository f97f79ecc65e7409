"""From a plan to a smaller module, and the proof that it is the same function."""
