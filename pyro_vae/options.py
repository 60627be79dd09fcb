"""Settings that say what they are: fields of a configuration, and settings of a part.

One description serves the command line (flag, help, type), the JSON file and the rules of a resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from pyro_vae.errors import InputError, check_choice, check_count

OPTION = "option"  # key of a field's metadata


@dataclass(frozen=True)
class Option:
    """What a field of a configuration is to its user.

    Attributes:
        help: one line; says the default where it is not the field's own.
        kind: reads a word of the command line.
        metavar: how a value is called in the help.
        nargs: as argparse has it; None for one value.
        may_change: whether a resumed run may be given another value.
        name: in JSON and on the command line, where it is not the field's.
        flag: on the command line, where it is not the name.
        alias: another spelling of the flag, which is understood but not shown.
        hidden: in JSON, but no flag.
        const: the value of the flag alone, with ``nargs="?"``.
        action: of argparse, where it is not to store the value.
    """

    help: str
    kind: Callable[[str], Any] = str
    metavar: str | None = None
    nargs: str | int | None = None
    may_change: bool = False
    name: str | None = None
    flag: str | None = None
    alias: str | None = None
    hidden: bool = False
    const: Any = None
    action: Any = None


def option(default: Any, help: str, **described: Any) -> Any:
    """A dataclass field with its :class:`Option`; the type of the default reads its values."""
    kind = str if default is None or isinstance(default, (bool, tuple)) else type(default)
    described = {"kind": kind, **described}
    return field(default=default, metadata={OPTION: Option(help, **described)})


@dataclass(frozen=True)
class Named:
    """A field with an option: its group's attribute ("" at the top), its own, and its flat name."""

    group: str
    field: str
    name: str
    option: Option

    @property
    def flag(self) -> str:
        return self.option.flag or f"--{self.name.replace('_', '-')}"


def options_of(config: type, group: str = "") -> list[Named]:
    """The options of a configuration, those of its groups (fields that are configurations) too."""
    found = []
    for one in fields(config):
        described = one.metadata.get(OPTION)
        if described is not None:
            found.append(Named(group, one.name, described.name or one.name, described))
        elif is_dataclass(one.default_factory):
            found += options_of(one.default_factory, one.name)
    return found


@dataclass(frozen=True)
class Setting:
    """A setting of one part or one objective.

    Attributes:
        default: None where it must be given.
        help: one line.
        kind: reads its value from a word.
        metavar: how a value is called in the help.
    """

    default: Any
    help: str
    kind: Callable[[str], Any] = float
    metavar: str | None = None


def sizes(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 1 with an x between them: (128, 64) of "128x64"."""
    return tuple(check_count("a size", int(word)) for word in text.split("x"))


T = TypeVar("T")


def resolved(value: T | None) -> T:
    """A setting that is None until the config is resolved, and nothing else here."""
    assert value is not None
    return value


def read_part(what: str, text: str, registry: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class and the settings of ``NAME`` or ``NAME:key=value,key=value``.

    Args:
        what: the kind of part, for the errors.
        registry: name -> class, whose ``settings`` maps names to :class:`Setting`.

    Raises:
        InputError: an unknown name or setting, or a value that its setting cannot read; the line
            lists what is allowed.
    """
    name, _, rest = text.partition(":")
    made = registry[check_choice(what, name, registry)]
    known: Mapping[str, Setting] = getattr(made, "settings", {})
    settings = {key: setting.default for key, setting in known.items()}
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        if key not in known:
            allowed = ", ".join(known) or "none"
            raise InputError(f"unknown setting {key!r} of the {what} {name!r}; allowed: {allowed}")
        try:
            settings[key] = known[key].kind(value)
        except InputError as error:
            raise InputError(f"{key} of the {what} {name!r}: {error}") from error
        except ValueError as error:
            raise InputError(f"{key} of the {what} {name!r}: cannot read {value!r}") from error
    missing = [key for key, value in settings.items() if value is None]
    if missing:
        raise InputError(f"the {what} {name!r} wants {', '.join(missing)}")
    return made, settings
