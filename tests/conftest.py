"""Shared fixtures: a clean Pyro, tiny pairs, tiny image files, and fit.py run in this process."""

import gc
import signal
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae.cli import pictures
from pyro_vae.objectives import make_objective, thinning
from pyro_vae.programs import Architecture, build_guide, build_model
from pyro_vae.runs import RunDirectory
from tests.statistics import double_precision

# The tensors of the tests are too small for a second thread to help.
torch.set_num_threads(1)

# Tests send Ctrl-C to themselves and to their children, which both would ignore it where pytest was
# started with it ignored (by nohup, or in the background of a script).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Small settings of fit.py; flags given later in a command win.
QUICK = [
    "--epochs",
    "1",
    "--num-particles",
    "2",
    "--eval-particles",
    "50",
    "--test-size",
    "10",
    "--valid-size",
    "10",
    "--posterior-data",
    "3",
    "--posterior-draws",
    "5",
    "--quiet",
]
# A pair of few units, where the flags do not say what the pair is made of.
FEW_UNITS = {"--latent": ["12", "4"], "--hidden": ["16"], "--init": ["random"]}
OTHER_PAIR = {"--model", "--preset", "--config", "--resume"}


def pytest_collection_finish():
    """What the imports made stays to the end, so the garbage collector need not search it."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def float64():
    """Exact tests are in double precision: for a whole file, ``pytestmark`` asks for it."""
    with double_precision():
        yield


@pytest.fixture(autouse=True)
def clean_state():
    """An empty parameter store and a fixed seed for every test."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    pyro.clear_param_store()


def tiny_architecture(levels=2, pixels="standardised", families=None):
    """Up to three levels of 4, 3 and 2 units with hidden layers of 5 to 8."""
    return Architecture(
        units=(4, 3, 2)[:levels],
        families=families or ("laplace", "normal", "normal")[:levels],
        encoders=((8,), (7,), (6,))[:levels],
        feedback=((5,), (5,))[: levels - 1],
        priors=((5,), (6,))[: levels - 1],
        decoder=(6,) if pixels == "binary" else (),
        pixels=pixels,
    )


def tiny_pair(guide="topdown", levels=2, num_pixels=6, seed=0, **settings):
    """A hand-built pair of :func:`tiny_architecture`."""
    arch = tiny_architecture(levels, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(arch, num_pixels), build_guide(guide, arch, num_pixels)


def objective_named(name, num_particles, **settings):
    """``make_objective`` with a value for every setting that the objective wants."""
    inner = next((d for d in range(2, num_particles + 1) if num_particles % d == 0), 1)
    wanted = {
        "power": {"power": 0.5},
        "ciwae": {"beta": 0.3},
        "miwae": {"inner": inner},
        "piwae": {"inner": inner},
        "beta-vae": {"beta": 1.0},
        "capacity": {"capacity": 0.5},
        "free-bits": {"free_bits": 0.01},
    }
    return make_objective(name, num_particles, **(wanted.get(name, {}) | settings))


class Foreign(nn.Module):
    """A model of this library as a module of somebody else's."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


def keep_every_particle(patch) -> None:
    """Let thinning choose all particles, whose gradient is then that of no thinning."""

    def keep(weights, number):
        index = torch.arange(number)[:, None].expand_as(weights)
        return thinning.Kept(index, torch.ones_like(weights), torch.ones_like(weights))

    patch.setattr(thinning, "keep", keep)


def small_patches(whiten="zca", num_test=50):
    """Few patches of 6 x 6 pixels of the bundled photographs, nine components of them."""
    return pyro_vae.load_dataset(
        "natural",
        patch_size=6,
        whiten=whiten,
        components=9,
        num_train=60,
        num_valid=10,
        num_test=num_test,
    )


def write_images(path: Path, rows=100, side=4, seed=0) -> Path:
    """An .npy file of ``rows`` grey images in [0, 1] with some structure."""
    rng = np.random.default_rng(seed)
    shapes = rng.random((3, side, side))
    shares = rng.dirichlet(np.ones(3), size=rows)
    np.save(path, np.einsum("nk,khw->nhw", shares, shapes).astype(np.float32))
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Path of a file of 100 images of 4 x 4 pixels."""
    return write_images(tmp_path_factory.mktemp("data") / "images.npy")


def run_fit(*flags) -> int:
    """fit.py in this process with small settings; returns its exit code."""
    from experiments import fit

    return fit.main([*QUICK, *few_units(flags), *map(str, flags)])


def few_units(flags) -> list[str]:
    """Flags of a small pair; those of ``flags`` are left out, all of them where it names a pair."""
    if OTHER_PAIR.intersection(flags):
        return []
    return [word for flag, few in FEW_UNITS.items() if flag not in flags for word in (flag, *few)]


def bare_runs(patch) -> None:
    """Leave out the pictures and ``posterior.nc``, which take longer than a tiny run does."""
    patch.setattr(pictures, "draw", lambda *args: None)
    patch.setattr(RunDirectory, "write_posterior", lambda *args: None)


def changed_by_hand(run: Path) -> None:
    """Let a test change the files of a run: without checksums they are taken as they are."""
    (Path(run) / "checksums.json").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, images):
    """Run directory of a short, whole run of fit.py, pictures included."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    code = run_fit("--dataset", images, "--epochs", 2, "--num-particles", 5, "--run-dir", path)
    assert code == 0
    return path
