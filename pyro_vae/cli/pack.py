"""``pyro-vae pack``: a run as a folder to be given away."""

from __future__ import annotations

import argparse

from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.runs.packing import pack_run
from pyro_vae.ticking import ticking

PROG = "pyro-vae pack"


def parser(prog: str = PROG) -> Parser:
    """The command line."""
    p = Parser(
        prog=prog,
        description="Write what a run is worth keeping of as a folder to be given away: weights "
        "(safetensors), configuration, preprocessing, estimates and model card. Every command and "
        "load_run take it as a run; to train on, the run directory itself is needed.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"""examples:
  {prog} runs/first --out first
  hf upload NAME/first first    # or an archive of the folder""",
    )
    p.add_argument("run", metavar="RUN", help="run directory of pyro-vae fit")
    p.add_argument("--out", required=True, metavar="DIR", help="folder, new or empty")
    return p


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command; returns its exit code."""
    return answered(parser(prog), arguments, _answer)


def _answer(flags: argparse.Namespace) -> Answer:
    with ticking("packing"):
        folder = pack_run(flags.run, flags.out)
    files = sorted(str(path) for path in folder.iterdir())
    print(f"wrote {', '.join(files)}")
    return Answer({"folder": str(folder), "files": files})
