"""A scikit-learn estimator: rows in, codes out, over the same body as the command."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pyro
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data
from torch import Tensor

from pyro_vae.datasets import PixelSpace, pixel_space
from pyro_vae.datasets.preprocessing import ArrayPreprocessing
from pyro_vae.encoder.preparation import config_of, dataset_of
from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.evaluation import evaluate
from pyro_vae.evaluation.encoding import encode
from pyro_vae.programs import Generative, Guide
from pyro_vae.programs.likelihoods import LIKELIHOODS
from pyro_vae.runs.devices import device_named
from pyro_vae.runs.job import build, fit_pair
from pyro_vae.torch_state import own_generators
from pyro_vae.weights.passes import CHUNK_SIZE
from pyro_vae.weights.row_noise import RowNoise

_MEAN_SAMPLES = 32  # draws of z2 behind a mean of z1
_SCORE_PARTICLES = 100  # at least; more than k give the mean of several L_k


class HierarchicalVAEEncoder(TransformerMixin, BaseEstimator):
    """A hierarchical VAE as a scikit-learn transformer: x -> E[z | x].

    >>> encoder = HierarchicalVAEEncoder(latent=(16,), random_state=0).fit(X)
    >>> codes = encoder.transform(X)            # (N, 16)
    >>> images = encoder.inverse_transform(codes)  # (N, D), in the units of X
    >>> encoder.score(X)                        # nats per row

    The pair is the one that ``PairConfig`` describes and it is trained by ``fit``, as runs of the
    command are. Nothing is written to disk, and torch's generators are left as they were.

    Args:
        latent: units of z1 (next to the data), z2, ...; as many numbers as levels.
        hidden: widths of the hidden layers of every network; or words of ``--hidden`` such as
            ``("encoders=200", "decoder=linear")``, see :class:`pyro_vae.PairConfig`.
        activation: between hidden layers: "tanh", "softplus", "relu", ...
        family: of the latents: "normal" or "laplace".
        guide: "topdown", "bottomup" or "meanfield".
        prior, posterior: of the top level, and of all given x, ``NAME`` or ``NAME:key=value``.
        likelihood: ``NAME`` or ``NAME:key=value``. "gaussian": X is standardised by one mean and
            one standard deviation of all its values, and ``noise`` is in these units; features of
            different units want a ``StandardScaler`` before. "bernoulli": values of X are
            probabilities in [0, 1], of which 0 and 1 are drawn anew for each batch.
        objective: a name of ``--objective``, with its settings as in ``"ciwae:beta=0.5"``.
        num_particles: k, particles per row.
        epochs: passes over X.
        batch_size: rows of a step.
        learning_rate: of Adam.
        validation_fraction: share of the rows that is held out of the training; each epoch is
            judged on them (500 at most), in ``history_``.
        level: what ``transform`` returns: "z1", "z2", ..., or "all" levels side by side.
        random_state: of initial weights, order of the rows and all noise. The same number gives the
            same results on the CPU, bit for bit.
        device: "auto", "cpu", "cuda" or "cuda:N".
        verbose: whether to show progress.

    Attributes:
        model_, guide_: the trained Pyro programs.
        history_: one row (dict) per epoch, as in ``metrics.csv``; row 0 is the untrained pair.
        n_iter_: epochs done.
        preprocessing_: what turns X into rows and back.
        config_: :class:`pyro_vae.RunConfig` with all settings.
        n_features_in_, feature_names_in_: as scikit-learn has them.

    Raises:
        InputError: (a ValueError) a parameter or X cannot be used.
    """

    def __init__(
        self,
        latent: Sequence[int] = (32,),
        *,
        hidden: Sequence[int | str] = (100,),
        activation: str = "tanh",
        family: str = "normal",
        guide: str = "topdown",
        prior: str = "standard",
        posterior: str = "locscale",
        likelihood: str = "gaussian",
        objective: str = "iwae",
        num_particles: int = 5,
        epochs: int = 50,
        batch_size: int = 100,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.0,
        level: str = "z1",
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.latent = latent
        self.hidden = hidden
        self.activation = activation
        self.family = family
        self.guide = guide
        self.prior = prior
        self.posterior = posterior
        self.likelihood = likelihood
        self.objective = objective
        self.num_particles = num_particles
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.level = level
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> HierarchicalVAEEncoder:
        """Train the pair on the rows of X (N, D), N at least 2; y is not read."""
        X = self._validated(X, reset=True, ensure_min_samples=2)
        # At least 0 and below 2^31, as seeds of scikit-learn are.
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        config = config_of(self.get_params(deep=False), seed)
        data = dataset_of(X, config, self.validation_fraction)
        device = device_named(config.speed.device)
        model, guide = build(config, data)
        model, guide = model.to(device), guide.to(device)
        result = fit_pair(model, guide, config, data, progress=bool(self.verbose))
        if result.signal is not None:
            # Training ends between two steps; whoever called is to hear of Ctrl-C as usual.
            signal.raise_signal(result.signal)
        self.model_, self.guide_ = model.eval(), guide.eval()
        self.config_ = config
        self.preprocessing_ = cast(ArrayPreprocessing, data.preprocessing)  # of rows of X
        self.history_ = result.history
        self.n_iter_ = int(result.history[-1]["epoch"])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means E_q[z | x] of ``level`` for rows X (N, D): (N, units), the type of X.

        The mean of the top level is exact, and so are all of a mean-field guide. A level with
        latent parents is averaged over 32 draws of them, on noise that depends on the row and
        ``random_state`` alone: a row has the same code in any company.
        """
        X = self._validated(X)
        draws = _MEAN_SAMPLES if self.model_.num_levels > 1 else 2

        def means(model: Generative, guide: Guide, rows: Tensor) -> np.ndarray:
            found = encode(model, guide, rows, num_samples=draws).means
            return np.concatenate([found[name] for name in self._levels()], axis=1)

        return self._by_rows(means, X, draws).astype(X.dtype, copy=False)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """E[x | z] for codes Z (N, units) of ``level``, in the units of X: (N, D) float64.

        For "z1" and "all" that is E[x | z1], on which levels above have no influence. For a higher
        level the conditional means stand for the levels between, as in E[x | z1 = E[z1 | z2]]:
        exactly E[x | z2] where the decoder is linear, else near it.
        """
        check_is_fitted(self)
        names, sizes = self._levels(), self.model_.latent_sizes
        Z = check_array(Z, dtype=np.float64, input_name="Z")
        widths = [sizes[self._index(name)] for name in names]
        if Z.shape[1] != (width := sum(widths)):
            raise InputError(f"Z has {Z.shape[1]} features; {self.level} of the pair has {width}")
        model, _ = self._wide_pair()
        with torch.no_grad():
            parts = torch.from_numpy(Z).to(self._device).split(widths, dim=1)
            latents = dict(zip(names, parts, strict=True))
            for level in range(self._index(names[0]), 0, -1):
                above = latents[f"z{level + 1}"]
                latents[f"z{level}"] = model.conditionals[level - 1](above).mean
            return self.preprocessing_.images(model.mean_of(latents))

    def score_samples(self, X: Any, *, num_particles: int | None = None) -> np.ndarray:
        """L_k(x), a lower bound on log p(x), of each row of X: (N,) nats, float64.

            L_k(x) = E[log mean_k p(x | z_k) p(z_k) / q(z_k | x)],  z_1 ... z_k ~ q(z | x)

        (Burda et al. 2016, https://arxiv.org/abs/1509.00519), never annealed, and the same bound
        whatever objective trained the pair, so that objectives can be compared. It is estimated on
        noise of the row's own, as in :meth:`transform`; for k below 100 as the mean of 100 // k
        independent estimates.

        It is a bound on the density of X itself. A Gaussian likelihood scores standardised rows
        (x - mean) / scale, whose density is larger by the Jacobian: D log(scale) is subtracted, D
        the number of features. Inside a ``Pipeline`` X is what the step before gives; the Jacobian
        of that step is not known here. Under a Bernoulli likelihood, values between 0 and 1 are
        probabilities, and L_k is a lower bound on E[log p(b)] over the b that they draw.

        Args:
            num_particles: k; that of the training where it is left out.
        """
        X = self._validated(X)
        k = self.config_.objective.num_particles if num_particles is None else num_particles
        total = k * max(1, _SCORE_PARTICLES // check_count("num_particles", k))

        def bound(model: Generative, guide: Guide, rows: Tensor) -> np.ndarray:
            sizes: dict[str, Any] = {"bound_particles": k, "chunk_size": total * len(rows)}
            return evaluate(model, guide, rows, num_particles=total, khat=False, **sizes).bound

        return self._by_rows(bound, X, total) - X.shape[1] * np.log(self.preprocessing_.scale)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of :meth:`score_samples` over the rows of X, nats per row; y is not read.

        Larger is better. Bounds of pairs with different ``num_particles`` are different bounds:
        compare these by ``score_samples(X, num_particles=...)``.
        """
        return float(self.score_samples(X).mean())

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """z1_0, z1_1, ...: names of the columns of :meth:`transform`; the argument is not read."""
        check_is_fitted(self)
        sizes = self.model_.latent_sizes
        names = [
            f"{name}_{unit}" for name in self._levels() for unit in range(sizes[self._index(name)])
        ]
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.positive_only = self._pixels is not None and not self._pixels.standardised
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """The pair is pickled on the CPU, so that a machine without a GPU can read it."""
        state = super().__getstate__()
        if "model_" in state and self._device.type != "cpu":
            model, guide = copy.deepcopy((self.model_, self.guide_))  # a prior may hold the guide
            state |= {"model_": model.cpu(), "guide_": guide.cpu()}
        return state

    @property
    def _pixels(self) -> PixelSpace | None:
        """What values of X mean; None for a likelihood that there is not, which ``fit`` refuses."""
        made = LIKELIHOODS.get(str(self.likelihood).partition(":")[0])
        return None if made is None else pixel_space(made.pixels)

    @property
    def _device(self) -> torch.device:
        return next(self.model_.parameters()).device

    def _levels(self) -> list[str]:
        """The levels that ``level`` asks for, from the data upward."""
        names = self.model_.latent_names
        return list(names) if self.level == "all" else [check_choice("level", self.level, names)]

    def _index(self, name: str) -> int:
        return self.model_.latent_names.index(name)

    def _validated(self, X: Any, *, reset: bool = False, **settings: Any) -> np.ndarray:
        """X as an array (N, D) of floats, in the interval that the likelihood wants."""
        if not reset:
            check_is_fitted(self)
        X = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], **settings)
        pixels = self._pixels if reset else self.preprocessing_.pixels
        if pixels is not None and pixels.interval is not None:
            check_non_negative(X, type(self).__name__)
            low, high = pixels.interval
            if X.min() < low or X.max() > high:
                raise InputError(
                    f"the likelihood {self.likelihood!r} wants values in [{low:g}, {high:g}], got "
                    f"{X.min():g} to {X.max():g}"
                )
        return X

    def _wide_pair(self) -> tuple[Generative, Guide]:
        """The pair in float64: its sums do not depend on which rows are worked on together."""
        model, guide = copy.deepcopy((self.model_, self.guide_))  # together: see VampPrior
        return model.double(), guide.double()

    def _by_rows(
        self,
        function: Callable[[Generative, Guide, Tensor], np.ndarray],
        X: np.ndarray,
        particles: int,
    ) -> np.ndarray:
        """The function of all rows, some at a time, on noise of each row's own."""
        x, seed = self.preprocessing_.scaled(X).double().to(self._device), self.config_.seed
        model, guide = self._wide_pair()
        parts = []
        # Values between 0 and 1 are in no support of a Bernoulli; they were checked above.
        with own_generators(), pyro.validation_enabled(False):
            torch.manual_seed(seed)
            for rows in x.split(max(1, CHUNK_SIZE // particles)):
                with RowNoise(rows, seed):
                    parts.append(function(model, guide, rows))
        return np.concatenate(parts)
