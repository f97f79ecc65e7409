"""What is to be done, as data: budgets, allocators, plans."""
