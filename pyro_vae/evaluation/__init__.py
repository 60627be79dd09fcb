"""Held-out figures of a trained pair: likelihoods, KL terms and the weights' diagnostics."""

from pyro_vae.evaluation.figures import CHUNK_SIZE, Evaluation, evaluate, log_likelihood

__all__ = ["CHUNK_SIZE", "Evaluation", "evaluate", "log_likelihood"]
