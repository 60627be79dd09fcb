"""Named values, as measures and probes return them and the store keeps them."""

from __future__ import annotations

from typing import Any


class Named(dict[str, Any]):
    """Arrays or numbers by name, each an attribute as well: ``found.means``."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"there is no {name!r}; there are {', '.join(map(str, self))}")
