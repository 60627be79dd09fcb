"""Measures of a representation: arrays in, labelled tables out."""
