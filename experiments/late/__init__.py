"""What the comparison of late priors is made of; ``experiments/late_prior.py`` is its command."""
