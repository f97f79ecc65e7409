"""Getting accuracy back: re-estimation, reconstruction, fine-tuning, distillation."""
