"""The command ``pyro-vae``: one subcommand a file, the same from a wheel and from a checkout.

This is the outermost room: it alone in the library calls ``analysis`` (pictures, the report) and
``experiments`` (the published tables, the study), which are installed beside it.
"""

from __future__ import annotations

import importlib
import os
import sys

# Subcommand -> the module whose ``main(arguments, prog)`` runs it, and a line of help.
COMMANDS = {
    "fit": ("pyro_vae.cli.fit", "train a model and a guide on images, and judge them"),
    "sample": ("pyro_vae.cli.sample", "draw images from a trained model"),
    "encode": ("pyro_vae.cli.encode", "posterior means, scales and draws of new images"),
    "reconstruct": ("pyro_vae.cli.reconstruct", "images made from what is kept of images"),
    "evaluate": ("pyro_vae.cli.evaluate", "bounds and log-likelihood of new or held-out images"),
    "fid": (
        "pyro_vae.cli.fid",
        "how far samples are from real images, beside a null",
    ),
    "disentangle": (
        "pyro_vae.cli.disentangle",
        "what a run's code tells of known factors of the images",
    ),
    "refit": ("pyro_vae.cli.refit", "another prior for a trained run, and what it is worth"),
    "card": ("pyro_vae.cli.card", "a model card of a run, as Markdown"),
    "pack": ("pyro_vae.cli.pack", "a folder to be given away: safetensors, config, card"),
    "completion": ("pyro_vae.cli.completion", "a script that lets bash or zsh complete all this"),
    "report": ("analysis.report", "representations of runs, side by side, as one HTML page"),
    "replicate": ("experiments.replicate", "rebuild a published table"),
    "study": ("experiments.td_iwae", "train and report the models of the TD-IWAE study"),
    "bracket": ("experiments.bracket", "bracket a model's log-likelihood by annealing"),
}
_USAGE = """usage: pyro-vae COMMAND [flags]

Importance-weighted and hierarchical variational autoencoders.

{commands}

examples:
  pyro-vae fit --guide topdown --num-particles 50 --run-dir runs/first
  pyro-vae encode runs/first my_images.npy --out codes.npz
  pyro-vae sample runs/first --num 64 --out samples.png
  pyro-vae report runs/first --out report

pyro-vae COMMAND --help lists the flags of a command; pyro-vae --version tells the version."""


def main(arguments: list[str] | None = None) -> int:
    """Run ``pyro-vae``; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] == "--version":
        from pyro_vae.version import __version__

        print(f"pyro-vae {__version__}")
        return 0
    name, *rest = words
    if name not in COMMANDS:
        allowed = ", ".join(COMMANDS)
        print(f"pyro-vae: unknown command {name!r}; allowed: {allowed}", file=sys.stderr)
        return 2
    if arguments is None:
        prepare_process()
    from pyro_vae.cli.common import exit_code

    prog = f"pyro-vae {name}"
    # The import too: that is where a tight limit on memory is met first.
    return exit_code(prog, lambda: importlib.import_module(COMMANDS[name][0]).main(rest, prog=prog))


def usage() -> str:
    """The help of ``pyro-vae`` itself."""
    commands = "\n".join(f"  {name:12}{line}" for name, (_, line) in COMMANDS.items())
    return _USAGE.format(commands=commands)


def prepare_process() -> None:
    """Settings of a process that runs a command, before there are threads.

    How long threads spin before they sleep: at torch's default a step takes several times as long
    as soon as another process wants a core, without spinning small steps take twice as long on a
    free machine (docs/design.md). It is read once, when torch starts its threads; they inherit that
    denormal numbers are flushed.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    import torch

    torch.set_flush_denormal(True)
