"""The command line of ``fit.py``."""

from __future__ import annotations

import argparse

from experiments.commands import Parser
from pyro_vae.datasets import DATASETS
from pyro_vae.objectives import OBJECTIVES
from pyro_vae.objectives.estimators import ESTIMATORS
from pyro_vae.programs import GUIDES, MODELS
from pyro_vae.training.optimisation import GRADIENTS
from pyro_vae.training.recipes import RECIPES


def parser() -> Parser:
    """The command line of fit.py. Flags left out are absent, so that a resume can tell."""
    p = Parser(
        prog="fit.py",
        description="Train a hierarchical VAE and its guide on images, evaluate it on held-out "
        "data and write a run directory that ArviZ opens.",
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python experiments/fit.py --guide topdown --num-particles 50",
    )
    data = p.add_argument_group("data")
    data.add_argument(
        "--dataset",
        metavar="NAME|FILE",
        help=f"{', '.join(DATASETS)}; or a .npy, .npz (file.npz:array), IDX or .pkl file, or a "
        "folder of photographs (default: natural)",
    )
    data.add_argument(
        "--data-dir", metavar="DIR", help="folder of data files (default: $PYRO_VAE_DATA)"
    )
    data.add_argument(
        "--binarise",
        metavar="HOW",
        help="static, epoch or access: when pixels of Bernoulli models are drawn (default: access)",
    )
    data.add_argument("--patch-size", type=int, metavar="N", help="side of a patch (default: 20)")
    data.add_argument("--intensity", metavar="HOW", help="log or grey (default: log)")
    data.add_argument("--whiten", metavar="HOW", help="zca, pca or none (default: zca)")
    data.add_argument(
        "--components",
        type=int,
        metavar="N",
        help="principal components that whitening keeps, a low-pass cut (default: 128)",
    )
    data.add_argument(
        "--num-train", type=int, metavar="N", help="training patches to cut (default: 10000)"
    )

    program = p.add_argument_group("model and guide")
    program.add_argument("--model", metavar="NAME", help=f"{', '.join(MODELS)} (default: td)")
    program.add_argument("--guide", metavar="NAME", help=f"{', '.join(GUIDES)} (default: topdown)")
    program.add_argument(
        "--preset",
        metavar="NAME",
        help="small: minutes on a CPU; paper: the published sizes and recipe (default: small)",
    )

    training = p.add_argument_group("training")
    training.add_argument(
        "--objective", metavar="NAME", help=f"{', '.join(OBJECTIVES)} (default: iwae)"
    )
    training.add_argument(
        "--num-particles", type=int, metavar="K", help="particles per datum (default: 50)"
    )
    training.add_argument(
        "--estimator",
        metavar="NAME",
        help=f"of the gradient, where the objective leaves it open: {', '.join(ESTIMATORS)} "
        "(default: pathwise)",
    )
    _add_objective_settings(p)
    training.add_argument(
        "--anneal",
        metavar="LEVEL=START:END:SHARE",
        action="append",
        help="beta of a level, linear over a share of training; repeatable (default: z2=0.1:1:0.5 "
        "for models with a z2)",
    )
    training.add_argument("--no-anneal", action="store_true", help="beta is 1 throughout")
    training.add_argument(
        "--recipe",
        metavar="NAME",
        help=f"{', '.join(RECIPES)}: epochs, batch size and optimiser, which the flags below "
        "change one by one (default: the preset's)",
    )
    training.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="learning rates that fall in stages run through all of them in N (default: the "
        "recipe's)",
    )
    training.add_argument("--max-minutes", type=float, metavar="M", help="end training after this")
    training.add_argument("--batch-size", type=int, metavar="B", help="default: the recipe's")
    training.add_argument(
        "--lr",
        type=float,
        help="Adam's learning rate, constant: it overrides the stages of a recipe (default: the "
        "recipe's)",
    )
    training.add_argument(
        "--adam-beta1", type=float, metavar="B", help="of Adam's mean (default: the recipe's)"
    )
    training.add_argument(
        "--adam-eps", type=float, metavar="E", help="Adam's eps (default: the recipe's)"
    )
    training.add_argument(
        "--gradient",
        metavar="HOW",
        help=f"{' or '.join(GRADIENTS)} over the batch, for Adam (default: the recipe's)",
    )
    training.add_argument(
        "--second-moment",
        type=float,
        metavar="V",
        help="Adam's second moment before the first step (default: the recipe's)",
    )
    training.add_argument(
        "--clip-norm",
        type=float,
        metavar="G",
        help="clip gradients at this norm per datum (default: the recipe's)",
    )
    training.add_argument(
        "--skip-norm",
        type=float,
        metavar="G",
        help="skip steps above this norm per datum (default: the recipe's)",
    )
    training.add_argument(
        "--thin",
        type=int,
        nargs="?",
        const=0,
        metavar="M",
        help="compute gradients for at most M particles per datum, chosen at random so that the "
        "expected gradient is that of all (M left out: K / 8; default from 50 particles on)",
    )
    training.add_argument(
        "--no-thin",
        action="store_const",
        const=None,
        dest="thin",
        help="gradients of all particles (default below 50)",
    )
    training.add_argument("--seed", type=int, help="of everything random (default: 0)")
    speed = p.add_argument_group("speed and memory; torchrun starts several processes")
    speed.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="run the step as one compiled graph, or never (default: where a probe on the first "
        "batch finds that it pays)",
    )
    speed.add_argument(
        "--chunk-size",
        type=int,
        metavar="N",
        help="particles times data run at once (default: 5000 on a CPU, all on a GPU)",
    )
    speed.add_argument(
        "--precision",
        metavar="NAME",
        help="of matrix products in training: float32, tf32 (GPU) or bf16 (default: float32)",
    )
    speed.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (default: auto)")

    after = p.add_argument_group("evaluation")
    after.add_argument("--valid-size", type=int, metavar="N", help="data judged per epoch (500)")
    after.add_argument("--test-size", type=int, metavar="N", help="test data judged (200)")
    after.add_argument(
        "--eval-particles",
        type=int,
        metavar="K",
        help="particles of the test log-likelihood (5000)",
    )
    after.add_argument("--posterior-data", type=int, metavar="N", help="data in posterior.nc (50)")
    after.add_argument("--posterior-draws", type=int, metavar="N", help="draws in it (100)")

    run = p.add_argument_group("run")
    run.add_argument("--run-dir", metavar="DIR", help="default: runs/<date>-<what>")
    run.add_argument("--resume", action="store_true", help="continue the run in --run-dir exactly")
    run.add_argument("--quiet", action="store_true", help="print the final table only")
    return p


def _add_objective_settings(p: Parser) -> None:
    group = p.add_argument_group("settings of single objectives (docs/objectives.md)")
    group.add_argument("--alpha", type=float, help="renyi, pyro-renyi: order (default: 0, IWAE)")
    group.add_argument("--power", type=float, metavar="P", help="power: exponent of the weights")
    group.add_argument(
        "--beta",
        type=float,
        help="ciwae: share of the ELBO; beta-vae: factor of the KL (S4's L_alpha has beta = alpha)",
    )
    group.add_argument(
        "--inner", type=int, metavar="K1", help="miwae, piwae: particles of each inner bound"
    )
    group.add_argument(
        "--capacity",
        metavar="C|START:END:SHARE",
        help="capacity: nats of KL, constant or linear over a share of training",
    )
    group.add_argument("--gamma", type=float, help="capacity: weight of |KL - C| (default: 1)")
    group.add_argument(
        "--free-bits", type=float, metavar="NATS", help="free-bits: nats of KL a group has free"
    )
    group.add_argument(
        "--groups", metavar="level|unit|N", help="free-bits: groups of each level (default: level)"
    )
