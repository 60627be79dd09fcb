"""Weights: programs are run and read here, and become log-weights and what is known of them."""
