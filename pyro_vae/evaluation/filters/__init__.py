"""Filters of a linear decoder: Gabor functions fitted to them, their classes, and how many.

``gabor`` fits (``projection`` minimises), ``footprint`` measures without a fit, ``classes`` names
what a fit shows, and ``decoder_filters`` asks it of a model and of noise in the same space.
"""
