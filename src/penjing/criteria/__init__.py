"""What a unit is worth: pure functions on tensors, and the statistics they need."""
