"""Self-supervised pairs go through all that other pairs do: training, resume, estimates."""

import json

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae import InputError, OptimiserSettings, PairConfig
from pyro_vae.evaluation import ais, bidirectional, kl_per_unit, reconstruct
from pyro_vae.evaluation.activity import posterior_means
from pyro_vae.programs.networks import Maps
from pyro_vae.programs.priors import bind_
from pyro_vae.programs.priors.vamp import VampPrior
from pyro_vae.programs.self_supervised import SelfSupervisedVAE
from pyro_vae.runs import RunDirectory, load_run, new_config
from pyro_vae.training.gradients import Gradients
from pyro_vae.weights.resampling import sir
from tests.conftest import run_fit
from tests.self_supervised import level_rows, tiny_images

TEXTS = [("downscale:2",), ("downscale:2", "quantise:3"), ("quantise:4",)]
X = level_rows(12)
every_list = pytest.mark.parametrize("texts", TEXTS)


def test_the_paper_sizes_are_those_of_its_code():
    """27.86 million parameters: of q(u | y), p(y | u), q(z | x), p(z | y, u) and p(x | y, z)."""
    model, guide = PairConfig("ssvae", "meanfield", "paper").build(3072, (3, 32, 32))

    def millions(*modules):
        return sum(p.numel() for module in modules for p in module.parameters()) / 1e6

    found = [
        millions(guide.encoders[1], guide.conditionals[1]),
        millions(model.top),
        millions(guide.encoders[0], guide.conditionals[0]),
        millions(model.conditionals[0]),
        millions(model.likelihoods[0]),
    ]
    assert [round(value, 2) for value in found] == [3.93, 4.35, 3.03, 6.43, 10.12]
    assert model.latent_sizes == (1024, 1024)


@every_list
def test_it_trains_and_resumes_bit_for_bit(texts, tmp_path):
    def settings(file):
        return {
            "objective": "elbo",
            "batch_size": 6,
            "optimiser": OptimiserSettings(lr=1e-3),
            "compile": False,
            "checkpoint": tmp_path / file,
        }

    whole, cut = tiny_images(texts, rows=X), tiny_images(texts, rows=X)
    rows = pyro_vae.fit(*whole, X, valid=X, epochs=2, **settings("whole.pt")).history
    pyro_vae.fit(*cut, X, valid=X, epochs=1, **settings("cut.pt"))
    again = pyro_vae.fit(*cut, X, valid=X, epochs=2, resume=True, **settings("cut.pt")).history
    assert rows[-1]["elbo"] == again[-1]["elbo"] > rows[0]["elbo"]
    levels = range(1, len(texts) + 2)
    names = {"reconstruction_x", *(f"reconstruction_y{k}" for k in levels[:-1])}
    assert names | {f"kl_z{k}" for k in levels} <= rows[-1].keys()
    sites = sum(rows[-1][name] for name in names)
    assert sites == pytest.approx(rows[-1]["reconstruction"], rel=1e-6)


@every_list
def test_a_record_of_its_step_gives_the_plain_gradient(texts):
    pair = tiny_images(texts)
    gradients = Gradients(pyro_vae.IWAE(3), *pair)

    def found(run):
        for program in pair:
            program.zero_grad(set_to_none=False)
        torch.manual_seed(2)
        loss = run(X[:5], {}).value
        return loss, [p.grad.clone() for program in pair for p in program.parameters()]

    plain, expected = found(gradients)
    gradients.compile(X[:5], compiler=False)
    assert len(gradients.compiled) == 1
    recorded, grads = found(gradients)
    torch.testing.assert_close(recorded, plain)
    for one, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("texts", "shape"), [(("quantise:3",), (1, 4, 2)), (("downscale:2", "quantise:3"), (1, 8, 4))]
)
def test_estimates_and_exports_take_it(texts, shape):
    pair, x = tiny_images(texts, shape), level_rows(5, shape)
    model, guide = pair
    names = model.latent_names
    draws = sir(*pair, x[:3], 4, 2)
    assert draws.latents["z1"].shape == (2, 3, model.latent_sizes[0])
    assert set(kl_per_unit(*pair, x)) == set(names)
    assert set(posterior_means(guide, x)) == set(names)
    found = ais(*pair, x[:2], num_particles=2, num_temperatures=3)
    assert np.isfinite(found.lower).all()
    bracket = bidirectional(*pair, num_data=2, num_particles=2, num_temperatures=3)
    assert len(bracket.x) == len(names)  # x and its representations, drawn together
    assert set(bracket.latents) == set(names)
    idata = pyro_vae.to_inference_data(
        *pair, x[:3], num_particles=2, num_draws=2, diagnostic_particles=25
    )
    observed = {"x", *model.representation_names}
    assert observed == set(idata.observed_data) == set(idata.posterior_predictive)
    assert set(names) == set(idata.posterior)


def test_its_top_prior_can_be_a_mixture_of_posteriors_of_representations():
    model, guide = tiny_images()
    model.prior = VampPrior(model.latent_sizes[1], "normal", components=3)
    bind_(model.prior, guide, X, model.likelihood)
    (y,) = model.represent(X)
    assert model.prior.pseudo_inputs.shape == (3, y.shape[1])
    assert torch.isfinite(pyro_vae.log_weights(model, guide, X, 2).log_w).all()


def test_keeping_everything_reconstructs_and_nothing_generates():
    """The law of x alone: a kept latent moves E[x | .] with the image, and a drawn one does not."""
    pair = tiny_images()

    def mean_of(x, keep):
        torch.manual_seed(0)
        return reconstruct(*pair, x, keep)["x:mean"]

    everything = mean_of(X, None)
    torch.testing.assert_close(everything, mean_of(X, ("z1", "z2")))
    nothing = mean_of(X, ())
    assert not torch.equal(everything, mean_of(1 - X, None))
    torch.testing.assert_close(nothing, mean_of(1 - X, ()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "td", "transforms": ("downscale:2",)}, "--transforms is for the model ssvae"),
        ({"transforms": ("blur:2",)}, "unknown transform 'blur'; allowed: downscale"),
        ({"transforms": ("downscale:side=2",)}, "unknown setting 'side'"),
        ({"transforms": ()}, "at least one transform"),
        ({"guide": "topdown"}, "has the guide meanfield"),
        ({"latent": (128,)}, "have 2 latents, got 1 numbers"),
        ({"latent": (100, 128)}, "100 units of z1 do not fit maps of 4 x 4 places"),
        ({"likelihood": "bernoulli"}, "bernoulli is no likelihood of levels"),
        (
            {"transforms": ("quantise:3",), "likelihood": "categorical"},
            "quantise:3 renormalises .* allowed: logistic, logistic-mixture",
        ),
        ({"hidden": ("20",)}, "--hidden is for models with hidden layers"),
        ({"network": "gated"}, "--network is for models"),
        ({"init": "data"}, "data"),
        ({"transforms": ("downscale:3",)}, "wants sides that 3 divides, got 8 x 8; allowed .* 2"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        PairConfig(**{"model": "ssvae", "guide": "meanfield", **settings}).build(64, (1, 8, 8))


def test_parts_and_representations_of_another_number_are_refused():
    model, _ = tiny_images(("downscale:2", "quantise:3"))
    given = {"prior": model.prior, "top": model.top, "transforms": model.transforms}
    with pytest.raises(InputError, match="a self-supervised VAE wants at least one transform"):
        SelfSupervisedVAE(**given | {"transforms": []}, conditionals=[], likelihoods=[])
    both = {"conditionals": model.conditionals, "likelihoods": model.likelihoods}
    for what in both:
        match = f"2 transforms want 2 {what}, from the data up, got 1"
        with pytest.raises(InputError, match=match):
            SelfSupervisedVAE(**given, **both | {what: both[what][:1]})
    with pytest.raises(InputError, match="2 representations belong to an image, 1 were given"):
        model(X, model.represent(X)[0])


def test_rows_that_are_no_levels_are_refused():
    rows = X.clone()
    rows[0, 0] = 0.3333
    with pytest.raises(InputError, match="the data holds 1 values that are no whole levels"):
        pyro_vae.fit(*tiny_images(), rows, epochs=1)
    with pytest.raises(InputError, match="convolutions want images"):
        PairConfig("ssvae", "meanfield").build(64)


def test_levels_have_the_units_that_images_give_them():
    config = PairConfig("ssvae", "meanfield", transforms=("downscale:2", "greyscale"))
    arch = config.architecture.of_rows(Maps((3, 16, 16)))
    assert [units.shape for units in arch.units] == [(8, 4, 4)] * 3
    assert new_config({"model": "ssvae"}).pair.guide == "meanfield"


@pytest.mark.slow
def test_a_run_by_command(tmp_path, capsys):
    """Fitted, resumed, loaded; its routes by command, with what is refused."""
    from pyro_vae import cli

    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (60, 8, 8), dtype=np.uint8))
    np.save(tmp_path / "other.npy", rng.integers(0, 256, (1, 8, 8), dtype=np.uint8))
    run, images = tmp_path / "run", str(tmp_path / "images.npy")
    flags = ["--model", "ssvae", "--likelihood", "logistic", "--dataset", images]
    assert run_fit("--run-dir", run, *flags) == 0
    text = capsys.readouterr().out
    assert "are of the pair (x, d(x))" in text
    assert "draws of x that agree with their y1" in text
    assert "reconstruction of y1" in text
    content = json.loads(RunDirectory(run).config.read_text())
    assert (content["guide"], content["transforms"]) == ("meanfield", None)
    assert json.loads((run / "summary.json").read_text())["consistency"]["y1"]["mean"] < 1
    assert run_fit("--run-dir", run, "--resume", "--epochs", 2) == 0
    loaded = load_run(run)
    drawn = np.load(images)[:3]
    assert loaded.reconstruct(drawn, num_samples=2).shape == (3, 8, 8)
    assert loaded.sample(2, mean=True).shape == (2, 8, 8)
    with pytest.raises(InputError, match="given_of wants the names of what is given"):
        loaded.reconstruct(drawn, given_of=drawn)

    def command(name, *words):
        code = cli.main([name, str(run), *map(str, words), "--out", str(tmp_path / "out.npz")])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    code, text = command("reconstruct", images, "--keep", "z2", "--given", "y1", "--rates")
    assert code == 0
    assert all(f"\n{name} " in text for name in ("RS1", "RS2", "from y1", "CR"))
    assert np.load(tmp_path / "out.npz")["images"].shape == (60, 8, 8)
    code, text = command("reconstruct", images, "--rates", "--json")
    (line,) = (line for line in text.splitlines() if line.startswith("{"))
    routes = {rate["name"]: rate for rate in json.loads(line)["rates"]}
    assert (routes["RS1"]["keep"], routes["CR"]["given"]) == (["z2"], ["y1"])
    assert routes["RS1"]["bits"]["mean"] < routes["RS2"]["bits"]["mean"]
    others = ["--given", "y1", "--given-of", tmp_path / "other.npy"]
    assert command("reconstruct", images, "--keep", "z1", *others)[0] == 0
    assert command("sample", "--num", 5, "--of", images, "--given", "y1")[0] == 0
    assert np.load(tmp_path / "out.npz")["images"].shape == (5, 8, 8)
    code, text = command("reconstruct", images, "--keep", "y1")
    assert (code, "'y1' cannot be kept; the model's latents: z1, z2" in text) == (2, True)
    code, text = command("sample", "--keep", "z2")
    assert (code, "--of IMAGES" in text) == (2, True)
    np.save(tmp_path / "other.npy", rng.integers(0, 256, (4, 8, 8), dtype=np.uint8))
    code, text = command("reconstruct", images, *others)
    assert (code, "of 4 other images" in text) == (2, True)
    code, text = command("reconstruct", images, *others[2:])
    assert (code, "--given-of wants names of what is given" in text) == (2, True)
    code, text = command("reconstruct", images, "--given", "z1")
    assert (code, "'z1' cannot be given; the model's representations: y1" in text) == (2, True)
