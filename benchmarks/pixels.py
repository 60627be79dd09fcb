"""Drawing images pixel by pixel: every layer once a place, against the whole network at each.

    python benchmarks/pixels.py --json benchmarks/pixels.json

64 grey images of 28 x 28 from autoregressive pixels at the default sizes, and with a window of 4
places. A draw that runs the network over the image for each of its 784 places takes that many
passes; one pass is timed, and multiplied. Both are timed in turns by the time of the process.
``tests/contract/test_pixelcnn.py`` holds that both draw the same images.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyro
import torch

from benchmarks.machine import description, flush_denormals
from benchmarks.turns import interleave
from pyro_vae.programs import PairConfig

IMAGES, SHAPE = 64, (1, 28, 28)
PLACES = SHAPE[1] * SHAPE[2]
MAX_SECONDS = 60.0
CASES = (
    ("burda1", "pixelcnn"),
    ("burda1", "pixelcnn:window=4"),
    ("image", "pixelcnn-levels"),
    ("image", "pixelcnn-levels:window=4"),
)


@torch.no_grad()
def measured(name: str, likelihood: str, rounds: int) -> dict[str, object]:
    torch.manual_seed(0)
    model, _ = PairConfig(name, likelihood=likelihood).build(PLACES, SHAPE)
    given = model.likelihood(torch.randn(IMAGES, *model.latent_sizes))
    x = given.sample()
    steps = {"image": given.sample, "pass": lambda: given.network(x, given.context)}
    timing = interleave(steps, rounds, MAX_SECONDS, time.process_time)
    ratio = timing.ratio("image", "pass").scaled(1 / PLACES)
    seconds = {
        "place by place": timing.spread("image").as_dict(),
        "a pass for each": timing.spread("pass").scaled(PLACES).as_dict(),
    }
    print(
        f"{likelihood:26} {seconds['place by place']['median']:6.2f} s for {IMAGES} images; "
        f"{seconds['a pass for each']['median']:6.1f} s by {PLACES} passes; {ratio.median:.3f} "
        f"({ratio.lower:.3f} to {ratio.upper:.3f}) of it",
        flush=True,
    )
    return {
        "likelihood": likelihood,
        "images": IMAGES,
        "shape": SHAPE,
        "rounds": timing.rounds,
        "seconds": seconds,
        "ratio": ratio.as_dict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args()
    flush_denormals()
    torch.set_num_threads(1)
    with pyro.validation_enabled(False):
        rows = [measured(name, likelihood, flags.rounds) for name, likelihood in CASES]
    if flags.json:
        content = {"machine": description(), "rows": rows}
        flags.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
