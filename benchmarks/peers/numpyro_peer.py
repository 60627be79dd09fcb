"""The same pair as NumPyro programs, trained by NumPyro's SVI with its RenyiELBO(alpha=0).

The programs are what a NumPyro user writes for these models: parameters are ``numpyro.param``
sites, the first layer that merges x and z is split, and particles are added by ``vmap``, which
leaves what depends on x alone unbatched. Weights lie as JAX has them, (in, out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer import SVI, RenyiELBO
from torch import Tensor, nn

from benchmarks.cases import Case

FAMILIES = {"normal": dist.Normal, "laplace": dist.Laplace}
ACTIVATIONS = {"softplus": jax.nn.softplus, "tanh": jnp.tanh}


class Programs:
    """Model and guide of a case, which start at our pair's parameters."""

    def __init__(self, case: Case) -> None:
        self.arch = case.arch
        model, guide = case.pair()
        self.initial = {**_arrays("model", model), **_arrays("guide", guide)}
        self.activation = ACTIVATIONS[case.arch.activation]

    def model(self, x: jax.Array) -> None:
        top = len(self.arch.units)
        with numpyro.plate("data", len(x)):
            prior = FAMILIES[self.arch.families[-1]](jnp.zeros(self.arch.units[-1]), 1.0)
            z = numpyro.sample(f"z{top}", prior.to_event(1))
            for level in range(top - 1, 0, -1):
                p = self._loc_scale("model", level, self.arch.priors[level - 1], z)
                z = numpyro.sample(f"z{level}", p)
            h = self._mlp("model.likelihood.trunk", self.arch.decoder, z)
            numpyro.sample("x", self._likelihood(h).to_event(1), obs=x)

    def guide(self, x: jax.Array) -> None:
        top = len(self.arch.units)
        h, encodings = x, []
        for level, hidden in enumerate(self.arch.encoders):
            h = self._mlp(f"guide.encoders.{level}", hidden, h)
            encodings.append(h)
        with numpyro.plate("data", len(x)):
            z = numpyro.sample(f"z{top}", self._loc_scale("guide", top, (), encodings[-1]))
            for level in range(top - 1, 0, -1):
                hidden = self.arch.feedback[level - 1]
                signal = self._mlp(f"guide.feedback.{level - 1}", hidden, z)
                q = self._loc_scale("guide", level, (), encodings[level - 1], signal)
                z = numpyro.sample(f"z{level}", q)

    def _likelihood(self, h: jax.Array) -> dist.Distribution:
        if self.arch.pixels.drawn:
            return dist.Bernoulli(logits=self._linear("model.likelihood.logits", h))
        return dist.Normal(self._linear("model.likelihood.loc", h), self.arch.noise)

    def _loc_scale(self, program: str, level: int, hidden, *inputs) -> dist.Distribution:
        name = f"{program}.conditionals.{level - 1}"
        if hidden:
            inputs = (self._mlp(f"{name}.trunk", hidden, *inputs),)
        scale = jnp.exp(self.arch.gain * self._linear(f"{name}.log_scale", *inputs))
        family = FAMILIES[self.arch.families[level - 1]]
        return family(self._linear(f"{name}.loc", *inputs), scale).to_event(1)

    def _mlp(self, name: str, hidden, h: jax.Array) -> jax.Array:
        for layer in range(len(hidden)):
            h = self.activation(self._linear(f"{name}.layers.{layer}", h))
        return h

    def _linear(self, name: str, *inputs: jax.Array) -> jax.Array:
        parts = [h @ self._param(f"{name}.parts.{part}.weight") for part, h in enumerate(inputs)]
        parts[0] = parts[0] + self._param(f"{name}.parts.0.bias")
        return sum(parts[1:], parts[0])

    def _param(self, name: str) -> jax.Array:
        return numpyro.param(name, self.initial[name])


def _arrays(prefix: str, module: nn.Module) -> dict[str, jax.Array]:
    return {
        f"{prefix}.{name}": jnp.asarray(parameter.detach().numpy().T.copy())
        for name, parameter in module.named_parameters()
    }


def _svi(case: Case, num_particles: int) -> SVI:
    programs = Programs(case)
    loss = RenyiELBO(alpha=0, num_particles=num_particles)
    return SVI(programs.model, programs.guide, numpyro.optim.Adam(1e-3), loss)


def prepare(case: Case, num_particles: int, x: Tensor) -> Callable[[], float]:
    """A jitted ``svi.update`` whose old state is given up; each step waits for its result."""
    svi = _svi(case, num_particles)
    data = jnp.asarray(x.numpy())
    # The initial state holds the programs' own arrays; what is given up must be a copy.
    state = jax.tree.map(jnp.array, svi.init(jax.random.PRNGKey(0), data))
    update = jax.jit(svi.update, donate_argnums=0)

    def step() -> float:
        nonlocal state
        state, loss = jax.block_until_ready(update(state, data))
        return float(loss)

    return step


def log_weights(case: Case, x: Tensor, latents: Mapping[str, Tensor]) -> np.ndarray:
    """log p(x, z) - log q(z | x) of NumPyro's programs at latents (K, B, D): (K, B)."""
    programs = Programs(case)
    data = jnp.asarray(x.numpy())

    def log_density(program: Callable, z: Mapping[str, jax.Array]) -> jax.Array:
        with handlers.seed(rng_seed=0):
            sites = handlers.trace(handlers.substitute(program, data=z)).get_trace(data)
        samples = [site for site in sites.values() if site["type"] == "sample"]
        return sum(site["fn"].log_prob(site["value"]) for site in samples)

    def log_w(z: Mapping[str, jax.Array]) -> jax.Array:
        return log_density(programs.model, z) - log_density(programs.guide, z)

    values = {name: jnp.asarray(z.detach().numpy()) for name, z in latents.items()}
    return np.asarray(jax.vmap(log_w)(values))


def losses(case: Case, num_particles: int, x: Tensor, draws: int) -> list[float]:
    """The loss that the step minimises, at fresh noise, without training."""
    svi = _svi(case, num_particles)
    data = jnp.asarray(x.numpy())
    state = svi.init(jax.random.PRNGKey(1), data)
    evaluate = jax.jit(svi.evaluate)
    keys = jax.random.split(jax.random.PRNGKey(2), draws)
    return [float(evaluate(state._replace(rng_key=key), data)) for key in keys]
