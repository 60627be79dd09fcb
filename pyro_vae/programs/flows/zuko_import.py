"""What is taken from zuko, which turns off the checks of torch's distributions when imported."""

import torch

_validated = torch.distributions.Distribution._validate_args

from zuko.distributions import NormalizingFlow  # noqa: E402
from zuko.flows.autoregressive import MaskedAutoregressiveTransform  # noqa: E402
from zuko.flows.coupling import GeneralCouplingTransform  # noqa: E402
from zuko.lazy import LazyComposedTransform, LazyTransform  # noqa: E402
from zuko.transforms import CouplingTransform, MonotonicRQSTransform  # noqa: E402

torch.distributions.Distribution.set_default_validate_args(_validated)

__all__ = [
    "CouplingTransform",
    "GeneralCouplingTransform",
    "LazyComposedTransform",
    "LazyTransform",
    "MaskedAutoregressiveTransform",
    "MonotonicRQSTransform",
    "NormalizingFlow",
]
