"""Grows a trained neural network small enough for the hardware it must live in, and proves it."""
