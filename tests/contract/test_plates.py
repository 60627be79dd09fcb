"""Plates: names that clash, rows that differ, parts of a datum; and sites that carry nothing."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae
from pyro_vae import bounds, objectives
from pyro_vae.errors import InputError

X = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
LOSSES = {
    "iwae": objectives.IWAE(4),
    "dreg": objectives.DReG(4),
    "piwae": objectives.PIWAE(2, 4),
    "thin": objectives.IWAE(4, thin=2),
    "analytic": objectives.AnalyticELBO(4),
}


def latent():
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def observe(z, x, name="x"):
    pyro.sample(name, dist.Normal(z, 1.0).to_event(1), obs=x)


def model(x):
    with pyro.plate("data", len(x), dim=-1):
        observe(latent(), x)


def guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(0.5 * x, 1.0).to_event(1))


def refused(model, guide, match):
    for loss in LOSSES.values():
        with pytest.raises(InputError, match=match) as caught:
            loss(model, guide)(X)
        assert "\n" not in str(caught.value)


def test_a_site_called_as_its_plate():
    def its_model(x):
        with pyro.plate("z", len(x), dim=-1):
            observe(latent(), x)

    def its_guide(x):
        with pyro.plate("z", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    refused(its_model, guide, "a site and a plate are both called 'z'; give one another name")
    refused(model, its_guide, "a site and a plate are both called 'z'")


def test_two_sites_of_one_name():
    def twice(x):
        with pyro.plate("data", len(x), dim=-1):
            z = latent()
            observe(z, x)
            observe(z, x)

    refused(twice, guide, "a program has two sites called 'x'; every site wants its own name")


def test_two_plates_of_one_name():
    def parted(x):
        with pyro.plate("data", len(x), dim=-1):
            z = latent()
        with pyro.plate("data", len(x), dim=-1):
            observe(z, x)

    refused(parted, guide, "a program makes two plates called 'data'; make one and enter it twice")

    def entered(x):
        plate = pyro.plate("data", len(x), dim=-1)
        with plate:
            z = latent()
        with plate:
            observe(z, x)

    assert pyro_vae.log_weights(entered, guide, X, 3).log_w.shape == (3, 12)


def test_a_plate_called_as_that_of_the_particles():
    def its_model(x):
        with pyro.plate("particles", len(x), dim=-1):
            observe(latent(), x)

    refused(its_model, guide, "the plate 'particles' is the library's own; call yours otherwise")


def subsampled(size, number):
    """A model that looks at ``number`` rows, and a guide that looks at the same."""

    def its_model(x):
        with pyro.plate("data", size, subsample_size=number, dim=-1) as rows:
            observe(latent(), x[rows])

    def its_guide(x):
        with pyro.plate("data", size, subsample_size=number, dim=-1) as rows:
            pyro.sample("z", dist.Normal(0.5 * x[rows], 1.0).to_event(1))

    return its_model, its_guide


@pytest.mark.parametrize("name", LOSSES)
def test_both_programs_see_the_rows_that_the_guide_drew(name):
    """The loss is minus the size over the number of rows, times the bound of those rows."""
    pair = subsampled(12, 4)
    torch.manual_seed(1)
    loss = LOSSES[name](*pair)(X)
    torch.manual_seed(1)
    rows = torch.randperm(12)[:4]
    z = 0.5 * X[rows] + torch.randn(4, 4, 2)
    q = dist.Normal(0.5 * X[rows], 1.0)
    p = dist.Normal(0.0, 1.0)
    log_x = dist.Normal(z, 1.0).log_prob(X[rows]).sum(-1)
    if name == "analytic":
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(-1)
        bound = log_x.mean(0) - kl
    else:
        bound = bounds.iwae(log_x + (p.log_prob(z) - q.log_prob(z)).sum(-1))
    torch.testing.assert_close(loss, -3 * bound.sum())


@pytest.mark.parametrize(("of_guide", "of_model"), [(5, 4), (12, 4), (4, 12)])
def test_other_numbers_of_rows(of_guide, of_model):
    refused(
        subsampled(12, of_model)[0],
        subsampled(12, of_guide)[1],
        f"plate 'data' has {of_guide} rows in the guide and {of_model} in the model",
    )


def test_a_guide_of_other_rows():
    def its_guide(x):
        with pyro.plate("data", 7, dim=-1):
            latent()

    refused(model, its_guide, "plate 'data' has 7 rows in the guide and 12 in the model")


def pixels(number):
    def by_pixel(x):
        with pyro.plate("data", len(x), dim=-1):
            z = latent()
            for i in pyro.plate("pixels", 2, subsample_size=number):
                pyro.sample(f"x{i}", dist.Normal(z[..., i], 1.0), obs=x[:, i])

    return by_pixel


@pytest.mark.parametrize("name", LOSSES)
def test_a_datum_may_be_run_through(name):
    losses = []
    for program in (pixels(2), model):
        torch.manual_seed(1)
        losses.append(LOSSES[name](program, guide)(X))
    torch.testing.assert_close(*losses)


def test_a_part_of_a_datum_is_no_datum():
    match = r"site 'x\d' in the model stands in the sequential plate 'pixels', which takes 1 of 2"
    refused(pixels(1), guide, match)
    with pytest.raises(InputError, match=match):
        pyro_vae.log_weights(pixels(1), guide, X, 3)


@pytest.mark.parametrize("name", LOSSES)
def test_deterministic_sites_carry_nothing(name):
    """Under names of their own, or under one that model and guide both use."""

    def told(program, sites):
        def run(x):
            pyro.deterministic("total", x.sum())
            for site in sites:
                pyro.deterministic(site, 2 * x, event_dim=1)
            program(x)

        return run

    losses = []
    for pair in ((model, guide), (told(model, ["a", "b"]), told(guide, ["a", "c"]))):
        torch.manual_seed(1)
        losses.append(LOSSES[name](*pair)(X))
    torch.testing.assert_close(*losses)
