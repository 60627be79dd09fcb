"""``pyro-vae card``: a model card of a run, as Markdown."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.export.model_card import model_card
from pyro_vae.runs import load_run
from pyro_vae.storage import write_text

PROG = "pyro-vae card"


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Say in Markdown what a run is: model, data, training, test estimates with "
        "standard errors, and what these do not show.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"examples:\n  {prog} runs/first\n  {prog} runs/first --out MODEL_CARD.md",
    )
    p.add_argument("run", metavar="RUN", help="run directory of pyro-vae fit")
    p.add_argument("--out", metavar="FILE.md", help="file to write (default: the terminal)")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    card = model_card(load_run(flags.run))
    if flags.out is None:
        print(card)
        return Answer({"card": card, "files": []})
    write_text(Path(flags.out), card)
    print(f"wrote {flags.out}")
    return Answer({"card": card, "files": [flags.out]})
