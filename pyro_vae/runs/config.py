"""The configuration of a run: its settings in groups, and the facts that it wrote down.

A configuration is resolved: what a recipe or a model decides stands in it as plain values, so that
``config.json`` rebuilds the run whatever later versions take as their defaults.
:func:`pyro_vae.runs.resolving.new_config` makes one from the settings that a user gave.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pyro_vae.datasets.pixel_space import PixelSpace, pixel_space
from pyro_vae.objectives import SETTINGS
from pyro_vae.options import Named, option, options_of
from pyro_vae.programs import PairConfig
from pyro_vae.runs.data_settings import DataConfig
from pyro_vae.runs.settings import (
    EvaluationConfig,
    ObjectiveConfig,
    SpeedConfig,
)
from pyro_vae.runs.training_settings import TrainingConfig

FORMAT = 2  # of config.json; pyro_vae.runs.migrations reads the earlier ones


@dataclass(frozen=True)
class Facts:
    """What a run found and was made with: written down, never chosen.

    Attributes:
        num_pixels: width D of a row.
        channels_first: (C, H, W) of the images that rows hold; None where they are none, and in
            runs of versions up to 0.5.
        data: origin, counts and preprocessing of the data, as ``Dataset.info`` has them.
        data_checksum, data_sketch: of all rows of the three splits (``Dataset.fingerprint``); a
            run goes on with the same data only.
        versions, platform: of the libraries and the machine that began the run.
        command: the command line that began it; None where it was begun from Python.
        start: the figures of the pair before its first step, see ``pyro_vae.runs.summary.Start``;
            they are copied to ``summary.json`` when the run ends.
        own_pixels: the pixel space of the rows of a pair of the user's own programs, which ``pair``
            names and cannot rebuild (``save_run``); None where the pair is one of this library.
        earlier_objectives: until which epoch another objective trained.
        refit: the run that this one is with another prior, and how that was fitted.
        other: entries of the file that this version does not know.
    """

    num_pixels: int | None = None
    channels_first: tuple[int, int, int] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    data_checksum: str | None = None
    data_sketch: tuple[float, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None
    command: str | None = None
    start: Mapping[str, Any] = field(default_factory=dict)
    own_pixels: str | None = None
    earlier_objectives: tuple[Mapping[str, Any], ...] = ()
    refit: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, and the facts that it wrote down.

    ``config["name"]`` reads an entry by its name in ``config.json``, as versions up to 0.4 had it.
    """

    data: DataConfig = field(default_factory=DataConfig)
    pair: PairConfig = field(default_factory=PairConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seed: int = option(
        0, "seed of data order, patches, binarisation, initial weights and noise (default: 0)"
    )
    note: str | None = option(
        None, "a line about the run, kept in config.json", metavar="TEXT", may_change=True
    )
    facts: Facts = field(default_factory=Facts)

    @property
    def data_arguments(self) -> dict[str, Any]:
        """What :func:`pyro_vae.load_dataset` is called with to load the run's data."""
        return self.data.arguments(self.pixels, self.seed)

    @property
    def pixels(self) -> PixelSpace:
        """What the numbers of the run's rows mean."""
        own = self.facts.own_pixels
        return self.pair.architecture.pixels if own is None else pixel_space(own)

    def binarisation(self, pixels: PixelSpace) -> str | None:
        """How 0/1 pixels are drawn from training rows; None where they are what they are."""
        return (self.data.binarise or "access") if pixels.drawn else None

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its flat name; those of single objectives too."""
        values = {}
        for named in OPTIONS:
            owner = getattr(self, named.group) if named.group else self
            values[named.name] = getattr(owner, named.field)
        return values | {name: self.objective.settings.get(name) for name in SETTINGS}

    @classmethod
    def from_settings(cls, values: Mapping[str, Any], facts: Facts | None = None) -> RunConfig:
        """The configuration with these flat settings; what is missing has the field's default."""
        groups: dict[str, dict[str, Any]] = {}
        for named in OPTIONS:
            if named.name in values:
                groups.setdefault(named.group, {})[named.field] = _frozen(values[named.name])
        settings = {name: values[name] for name in SETTINGS if values.get(name) is not None}
        groups.setdefault("objective", {})["settings"] = settings
        top = groups.pop("", {})
        made = {
            one.name: cast(Any, one.default_factory)(**groups[one.name])
            for one in dataclasses.fields(cls)
            if one.name in groups
        }
        return cls(**made, **top, facts=facts or Facts())

    def with_facts(self, **facts: Any) -> RunConfig:
        """The configuration with some facts added or replaced."""
        return dataclasses.replace(self, facts=dataclasses.replace(self.facts, **facts))

    def entries(self) -> dict[str, Any]:
        """The content of ``config.json``, flat."""
        settings = self.settings
        facts = {one.name: getattr(self.facts, one.name) for one in dataclasses.fields(Facts)}
        other = facts.pop("other")
        for name in ("earlier_objectives", "refit", "own_pixels"):
            if not facts[name]:
                del facts[name]
        loaded = {"data_settings": self.data_arguments}
        return {"format": FORMAT, **settings, **facts, **loaded, **other}

    def __getitem__(self, name: str) -> Any:
        return self.entries()[name]


OPTIONS: list[Named] = options_of(RunConfig)


def _frozen(value: Any) -> Any:
    """JSON's lists as tuples."""
    if isinstance(value, Mapping):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
