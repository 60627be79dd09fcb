"""What a user changes in a named architecture: levels, families, hidden layers, transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.programs.conditionals import FAMILIES
from pyro_vae.programs.networks import ACTIVATIONS
from pyro_vae.programs.representations import read_names
from pyro_vae.programs.sizes import ABOVE_IMAGES, PARTS, Architecture, Widths


def with_levels(arch: Architecture, units: Sequence[int]) -> Architecture:
    """The architecture with these units; levels that it lacks are sized like its last one.

    Raises:
        InputError: numbers that are no units, or not one for each level of a self-supervised VAE.
    """
    for count in units:
        check_count("each number of --latent", count)
    levels = len(units)
    if arch.between is not None:
        if levels != len(arch.units):
            raise InputError(
                f"--latent: {len(arch.transforms)} transforms have {len(arch.units)} latents, got "
                f"{levels} numbers"
            )
        return replace(arch, units=tuple(units))
    encoders = _as_many(arch.encoders, levels)
    above = encoders[1:]
    return replace(
        arch,
        units=tuple(units),
        families=(*arch.families, *["normal"] * levels)[:levels],
        encoders=encoders,
        feedback=(*arch.feedback, *above[len(arch.feedback) :])[: levels - 1],
        priors=(*arch.priors, *above[len(arch.priors) :])[: levels - 1],
    )


def with_transforms(arch: Architecture, texts: Sequence[str]) -> Architecture:
    """A self-supervised VAE with these transforms, and so many levels and one more.

    Raises:
        InputError: another model, or transforms that there are not.
    """
    if arch.between is None:
        raise InputError("--transforms is for the model ssvae, whose levels are images")
    read_names(texts)
    above = len(texts)
    return replace(
        arch,
        transforms=tuple(texts),
        units=(0,) * (above + 1),
        families=("normal",) * (above + 1),
        encoders=((),) * (above + 1),
        feedback=((),) * above,
        priors=((),) * above,
    )


def _as_many(widths: Sequence[Widths], levels: int) -> tuple[Widths, ...]:
    return (*widths, *[widths[-1] or ABOVE_IMAGES] * levels)[:levels]


def families_of(given: Sequence[str], levels: int) -> tuple[str, ...]:
    """One family for each level, from as many names or from one."""
    for name in given:
        check_choice("family", name, FAMILIES)
    if len(given) not in (1, levels):
        raise InputError(
            f"--family wants 1 or {levels} names for {levels} levels, got {len(given)}"
        )
    return tuple(given) * (levels if len(given) == 1 else 1)


def hidden_of(given: Sequence[str], arch: Architecture) -> dict[str, tuple]:
    """Part -> hidden layers, from ``W,W`` or ``PART=W,W/W``."""
    check_layers(arch, "--hidden")
    wanted = {"encoders": len(arch.units), "feedback": len(arch.units) - 1}
    wanted |= {"priors": len(arch.units) - 1, "decoder": 1}
    found: dict[str, tuple] = {}
    for text in given:
        part, _, widths = text.rpartition("=")
        levels = [_widths(level, text) for level in widths.split("/")]
        # Without a part's name all networks that have hidden layers get these.
        named = [check_choice("part of --hidden", part, PARTS)] if part else _with_layers(arch)
        for name in named:
            if part and len(levels) not in (1, wanted[name]):
                raise InputError(
                    f"--hidden {text}: {name} have {wanted[name]} levels, got {len(levels)}"
                )
            per_level = tuple(levels * wanted[name])[: wanted[name]]
            if arch.images is not None:
                per_level = _above_images(name, levels, per_level, text)
            found[name] = per_level[0] if name == "decoder" else per_level
    return found


def check_layers(arch: Architecture, flag: str) -> None:
    """InputError where the architecture has no layers that the flag could be about."""
    if arch.between is not None:
        raise InputError(
            f"{flag} is for models with hidden layers; those of ssvae are blocks of convolutions, "
            "which its presets size"
        )


def _with_layers(arch: Architecture) -> list[str]:
    return [part for part in PARTS if part != "decoder" or arch.decoder]


def _above_images(
    part: str, given: Sequence[Widths], levels: tuple[Widths, ...], text: str
) -> tuple[Widths, ...]:
    """Of levels above z1 alone, where z1's own networks are convolutions."""
    of_z1 = len(levels) == 1 or (len(given) > 1 and given[0])
    if part == "decoder" or (part == "encoders" and of_z1):
        raise InputError(
            f"--hidden {text}: between images and z1 there are convolutions; hidden layers are "
            "those of the levels above, as --latent 64 32 --hidden encoders=linear/200"
        )
    return ((), *levels[1:]) if part == "encoders" else levels


def _widths(text: str, source: str) -> Widths:
    if text in ("linear", ""):
        return ()
    try:
        return tuple(check_count("a width", int(word)) for word in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--hidden {source}: {text!r} is no list of widths such as 200,200, nor linear"
        ) from error


def activations_of(given: Sequence[str], arch: Architecture) -> str | dict[str, str]:
    """One activation, or part -> activation, from ``NAME`` or ``PART=NAME``."""
    found = {part: arch.activation_of(part) for part in PARTS}
    for text in given:
        part, _, name = text.rpartition("=")
        check_choice("activation", name, ACTIVATIONS)
        for one in [check_choice("part of --activation", part, PARTS)] if part else PARTS:
            found[one] = name
    same = set(found.values())
    return same.pop() if len(same) == 1 else found
