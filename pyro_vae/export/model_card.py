"""A run told to people: its model card, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pyro_vae.errors import InputError
from pyro_vae.evaluation.drawing_cost import num_parameters
from pyro_vae.evaluation.statistics import Mean
from pyro_vae.export.card_uses import limits, not_for
from pyro_vae.objectives.catalogue import CATALOGUE
from pyro_vae.storage import Checksums

if TYPE_CHECKING:
    from torch import nn

# What each estimate is, in the order of the card.
_MEANING = {
    "log_likelihood": "log-likelihood, a lower estimate (L_K)",
    "log_likelihood_jackknife": "the same, first-order bias removed",
    "bound": "importance-weighted bound L_k",
    "elbo": "evidence lower bound",
    "kl_to_posterior": "KL from guide to posterior, a lower estimate",
    "reconstruction": "E_q log p(x given z)",
    "bits_per_dim": "bits per dimension, of the ELBO",
    "iw_bits_per_dim": "bits per dimension, of L_K",
    "ess": "effective sample size, particles",
    "khat_above_0.7": "share of data with k-hat above 0.7",
    "khat": "Pareto k-hat",
}


class TrainedRun(Protocol):
    """What :func:`pyro_vae.load_run` returns."""

    @property
    def model(self) -> nn.Module: ...
    @property
    def guide(self) -> nn.Module: ...
    @property
    def config(self) -> Any: ...
    @property
    def path(self) -> Path | None: ...


@dataclass(frozen=True)
class _Estimates:
    """What ``summary.json`` says; empty for a run that was not evaluated."""

    test: Mapping[str, Mean] = field(default_factory=dict)
    warning: str | None = None
    active_units: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    elbo_gain: Mean | None = None


def model_card(run: TrainedRun) -> str:
    """What model this is, how it was trained, what it reaches, and what it is not good for.

    Args:
        run: of :func:`pyro_vae.load_run`. A run without ``summary.json`` has a card that says that
            it was not evaluated.

    Returns:
        Markdown; estimates are means over the test data with their standard errors, nats per datum
        unless said otherwise.

    Raises:
        InputError: a run that lies in no directory, or whose ``summary.json`` is damaged.
    """
    found = _estimates(run.path)
    pair = run.config.pair
    parts = [
        f"# Model card: {pair.model} with a {pair.guide} guide",
        *_section("Model", _model(run)),
        *_section("Data", _data(run.config)),
        *_section("Training", _training(run.config, found)),
        *_section("Estimates on the test data", _results(found)),
        *_section("What these numbers do not show", _limits(run.config, found)),
        *_section("What not to use it for", _uses(run.config, found)),
        *_section("How to load it", _loading(run)),
    ]
    return "\n".join(parts) + "\n"


def _estimates(path: Path | None) -> _Estimates:
    """The one place that reads ``summary.json``."""
    if path is None:
        raise InputError("the run lies in no directory; load it with pyro_vae.load_run")
    file = Path(path) / "summary.json"
    if not file.is_file():
        return _Estimates()
    try:
        content = json.loads(Checksums(file.parent).read(file).decode())
        known = {name: content[name] for name in vars(_Estimates()) if name in content}
        test = {name: Mean(**values) for name, values in content.get("test", {}).items()}
        if known.get("elbo_gain") is not None:
            known["elbo_gain"] = Mean(**known["elbo_gain"])
        return _Estimates(**known | {"test": test})
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged: {error}") from error


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _points(facts: Mapping[str, object]) -> list[str]:
    """``- name: value`` for what is known."""
    return [f"- {name}: {value}" for name, value in facts.items() if value not in (None, "", {})]


def _model(run: TrainedRun) -> list[str]:
    counts = {"model": num_parameters(run.model), "guide": num_parameters(run.guide)}
    parameters = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    if run.config.facts.own_pixels is not None:
        pair = run.config.pair
        programs = f"`{pair.model}` and `{pair.guide}`, which this library did not write"
        return _points({"programs": programs, "parameters": parameters})
    sizes = run.config.pair.architecture
    levels = zip(sizes.units, sizes.families, strict=True)
    return _points(
        {
            "latent levels, from the data up": ", ".join(
                f"z{place} {family} ({units} units)"
                for place, (units, family) in enumerate(levels, start=1)
            ),
            "prior of the top level": sizes.prior,
            "posterior of the levels": sizes.posterior,
            "likelihood": sizes.likelihood or f"that of {sizes.pixels} pixels",
            "the decoder reads": "all levels" if sizes.decoder_reads == "all" else None,
            "preset": run.config.pair.preset,
            "parameters": parameters,
        }
    )


def _data(config: Any) -> list[str]:
    facts, data = config.facts, config.facts.data
    return _points(
        {
            "name": config.data.dataset,
            "origin": data.get("origin"),
            "caveat": data.get("caveat"),
            "rows": _listed(data.get("counts", {})),
            "pixels in a row": facts.num_pixels,
            "pixel space": config.pixels if data or facts.own_pixels is None else None,
            "settings": _listed(data.get("settings", {})),
            "checksum": f"`{facts.data_checksum}`" if facts.data_checksum else "not recorded",
        }
    )


def _training(config: Any, found: _Estimates) -> list[str]:
    objective, training = config.objective, config.training
    entry = CATALOGUE[objective.name]
    settings = {name: value for name, value in objective.settings.items() if value is not None}
    command = config.facts.command
    return _points(
        {
            "objective": f"{entry.title} (`{objective.name}`; {entry.source})",
            "a lower bound on log p(x)": entry.bound,
            "particles per datum": objective.num_particles,
            "settings of the objective": _listed(settings),
            "gradient estimator": objective.estimator,
            "trained before by": "; ".join(map(_listed, config.facts.earlier_objectives)),
            "prior fitted afterwards": _listed(config.facts.refit),
            "epochs": _ended(training.epochs, found),
            "patience, epochs": training.patience,
            "batch size": training.batch_size,
            "starts from": config.pair.init,
            "optimiser": training.optimiser_name,
            "learning rate": _listed(training.lr_stages) or training.lr,
            "its course": training.lr_shape,
            "annealing, beta from, to, share of training": _listed(training.annealing or {}),
            "seed": config.seed,
            "command": f"`{command}`" if command else None,
            "platform": config.facts.platform,
            "versions": _listed(config.facts.versions),
        }
    )


def _ended(planned: int, found: _Estimates) -> str:
    if not found.run:
        return "not known" if planned is None else f"{planned} planned"
    ended = {"epochs": None, "steps": None, "stopped": None, "best_epoch": None, **found.run}
    best = ended["best_epoch"]
    kept = "" if best is None else f"; the weights are those of epoch {best}, the best"
    of = "" if planned is None else f" of {planned}"
    return f"{ended['epochs']}{of}, {ended['steps']} steps ({ended['stopped']}){kept}"


def _results(found: _Estimates) -> list[str]:
    if not found.test:
        return ["The run was not evaluated."]
    rows = found.test
    order = [*(name for name in _MEANING if name in rows), *sorted(rows.keys() - _MEANING.keys())]
    table = [
        "| estimate | mean | standard error |",
        "|---|---:|---:|",
        *(
            f"| {_meaning(name)} | {_number(rows[name].mean)} | "
            f"{_number(rows[name].standard_error)} |"
            for name in order
        ),
    ]
    units = {
        level: "{active} of {units} ({pca_active} principal directions)".format(**counts)
        for level, counts in found.active_units.items()
    }
    return [
        "Means over the data, nats per datum where nothing else is said. Judged with "
        f"{_listed({name: value for name, value in found.settings.items() if name != 'unit'})}.",
        "",
        *table,
        "",
        *([f"**Warning:** {found.warning}", ""] if found.warning else []),
        *_points({f"active units of {level}": text for level, text in units.items()}),
        *_points({"training added to the ELBO of the start": _gain(found.elbo_gain)}),
    ]


def _gain(gain: Mean | None) -> str | None:
    return None if gain is None else f"{_number(gain.mean)} ± {_number(gain.standard_error)} nats"


def _uses(config: Any, found: _Estimates) -> list[str]:
    data = found.settings.get("test_data")
    return [f"- {line}" for line in not_for(config, found.test, data)]


def _meaning(name: str) -> str:
    level = name.removeprefix("kl_")
    return _MEANING.get(name) or (f"KL term of {level}" if level != name else name)


def _limits(config: Any, found: _Estimates) -> list[str]:
    return [f"- {line}" for line in limits(config, found.test.get("log_likelihood"))]


def _loading(run: TrainedRun) -> list[str]:
    assert run.path is not None  # a run that lies nowhere has no card
    own = run.config.facts.own_pixels is not None
    programs = ", programs=(model, guide)" if own else ""
    return [
        "```python",
        "import pyro_vae",
        "",
        f'run = pyro_vae.load_run("{Path(run.path).name}"{programs})',
        "model, guide, config = run",
        "codes = run.encode(images)  # posterior means and scales of new images",
        "```",
    ]


def _listed(values: object) -> str:
    """``name value, name value`` of a table, ``value, value`` of a list."""
    if isinstance(values, Mapping):
        return ", ".join(
            f"{name} {_listed(value) if isinstance(value, (list, tuple)) else value}"
            for name, value in values.items()
            if value is not None
        )
    return ", ".join(map(str, values)) if isinstance(values, (list, tuple)) else ""


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
