"""What a run found, drawn from its records; nothing is computed again."""
