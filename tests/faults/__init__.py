"""Faults that really happen, made on purpose: ``python -m tests.faults`` (``make faults``)."""
