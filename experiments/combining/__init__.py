"""Which parts go together: a combination, its one training step, and tables of many."""
