"""What the next batch needs, made while this one is trained on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Made = TypeVar("Made")


def spare_core() -> bool:
    """Whether this process may use a core that torch's threads leave free."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) > torch.get_num_threads()


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """``map(make, items)``, always one result ahead, which a thread of its own makes.

    Worth it where ``make`` releases Python's lock, as NumPy does, and shares nothing with what is
    done in between. No torch in ``make``: another thread brings a second team of threads to every
    operation. Errors of ``make`` are raised when their result is asked for.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="next-batch") as pool:
        last = None
        for item in items:
            last, before = pool.submit(make, item), last
            if before is not None:
                yield before.result()
        if last is not None:
            yield last.result()
