"""A pickle that leaves a mark where somebody loads it."""

import pickle
from pathlib import Path


class Hostile:
    """Creates the file ``mark`` when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def hostile_pickle(mark) -> bytes:
    return pickle.dumps({"format": 1, "data": Hostile(mark), "model": Hostile(mark)}, protocol=2)
