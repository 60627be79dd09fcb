"""Many trainings for one question: planned for a budget, claimed, trained side by side, resumed.

A published table (``replicate.py``) and the study of TD-IWAE (``td_iwae.py``) are campaigns. What
is special to each stands in ``experiments/replication`` and ``experiments/study``.
"""
