"""Titles of the report's items in words, and the papers that the report follows."""

from __future__ import annotations

TITLES = {
    "start-and-training": "The start alone, the trained model, and its twin from random weights",
    "kl-z2-annealed": "KL of z2 while training, with annealing",
    "kl-z2-not-annealed": "KL of z2 while training, without annealing",
    "kl-z2-effect-of-annealing": "What annealing adds to the KL of z2",
    "bounds-in-training": "Bounds on held-out data while training",
    "terms-natural": "Terms of the bound, natural patches",
    "bounds-at-equal-k-natural": "Bounds with the same number of particles, natural patches",
    "terms-labelled": "Terms of the bound, labelled data",
    "bounds-at-equal-k-labelled": "Bounds with the same number of particles, labelled data",
    "z2-moments": "Posterior means and deviations of the units of z2",
    "z2-densities": "Average posterior of the units of z2 against the prior",
    "z1-moments": "Posterior means and deviations of the units of z1",
    "z2-active-units": "Active units of z2",
    "z1-active-units": "Active units of z1",
    "z2-scatter": "Labels on two units of z2",
    "z2-decoding": "Labels decoded from z2",
    "z2-confusion": "Which labels decoders of z2 confuse",
    "z2-units-added": "Accuracy as units of z2 are added",
    "z2-selective-units": "Selective units of z2",
    "z2-selective-accuracy": "Selective units of z2 against the others",
    "z1-decoding": "Labels decoded from z1",
    "z1-confusion": "Which labels decoders of z1 confuse",
    "z1-scatter": "Labels on two units of z1",
    "z1-classes-decoding": "Labels decoded from localised and other units of z1",
    "decoding-overview": "Labels decoded from z2, z1 and the pixels",
    "decoding-draws": "Labels decoded from posterior means and from draws",
    "decoding-models-paired": "Accuracies of the models compared",
    "decoding-levels-paired": "Accuracies of the levels compared",
    "decoding-weighted": "Labels decoded from means of q and of q_EW",
    "z2-information": "Information of single units of z2 about the label",
    "z1-information": "Information of single units of z1 about the label",
    "z1-filters": "Filters of the active units of z1",
    "z1-gabor-fits": "Filters beside their Gabor fits",
    "z1-filter-classes": "How many filters are localised",
    "z1-filter-classes-over-seeds": "Localised filters over seeds",
    "z1-gabor-parameters": "Size, wavelength and orientation of the localised filters",
    "z1-receptive-fields": "Receptive fields by white noise",
    "z1-gabor-selection": "Units with Gabor filters in the middle of the patch",
    "samples": "Samples beside data",
    "reconstructions": "Reconstructions",
    "textures": "Textures along the units of z2",
    "families": "Families of filters that a unit of z2 moves",
    "prior-card": "The prior: what it costs, and what another would gain",
    "sample-draws": "Samples as draws and as means",
    "interpolation": "On the way from one image to another",
    "components": "The components of the prior that are used most",
    "route-rates": "What every route costs, and how near it comes",
    "steps": "Images generated step by step",
    "routes": "Test images by every route",
    "correlation-patch": "The example patch of the correlations",
    "correlation-matrices": "Posterior correlations of all pairs on one patch",
    "correlation-gabor-units": "Posterior correlations between Gabor units",
    "correlation-strongest-example": "The strongest correlations on the example patch",
    "correlation-strongest-patches": "The strongest correlations of a patch, over patches",
    "correlation-pairs": "The strongest pairs: filters and joint draws",
    "correlation-consistency": "Whether strong pairs are strong at every patch",
    "correlation-signal-noise": "Posterior correlations against those of posterior means",
    "correlation-paired": "Strongest correlations of the models compared",
    "inpainting-examples": "Occluded patches filled in",
    "inpainting-errors": "Errors of the hidden pixels",
    "inpainting-course": "Errors after each sweep",
    "inpainting-differences": "Errors of the hidden pixels, paired by patch",
    "contour-stimuli": "Stimuli with an illusory contour",
    "contour-responses": "Responses to an illusory contour",
    "contour-contrasts": "Illusory contours against their controls",
    "arviz-khat": "Pareto k-hat of the importance weights",
    "arviz-forest-z2": "Posterior of z2 for one patch",
    "arviz-pair-z2": "The pair of units of z2 that correlate most for one patch",
    "arviz-density-z2": "Density of the surest unit of z2 for one patch",
}
VARIANTS = {"-ew": "under q_EW", "-q": "under q"}
PAPERS = (
    (
        "Vas 2024",
        "B. Vas, Investigation of importance weighting for representation learning in hierarchical "
        "Variational Autoencoders, MSc thesis, Eotvos Lorand University",
        "",
    ),
    (
        "Burda et al. 2016",
        "Y. Burda, R. Grosse, R. Salakhutdinov, Importance Weighted Autoencoders",
        "https://arxiv.org/abs/1509.00519",
    ),
    (
        "Cremer et al. 2017",
        "C. Cremer, Q. Morris, D. Duvenaud, Reinterpreting Importance-Weighted Autoencoders (q_EW)",
        "https://arxiv.org/abs/1704.02916",
    ),
    (
        "Gatopoulos 2020",
        "I. Gatopoulos, Self-Supervised Variational Auto-Encoders, MSc thesis, University of "
        "Amsterdam (images in steps and their routes)",
        "https://arxiv.org/abs/2010.02014",
    ),
    (
        "Karklin and Lewicki 2005",
        "Y. Karklin, M. S. Lewicki, A hierarchical Bayesian model for learning nonlinear "
        "statistical regularities in nonstationary natural signals (scales of z1 given z2)",
        "https://doi.org/10.1162/0899766053011474",
    ),
    (
        "Rezende et al. 2014",
        "D. J. Rezende, S. Mohamed, D. Wierstra, Stochastic backpropagation (inpainting by sweeps)",
        "https://arxiv.org/abs/1401.4082",
    ),
    (
        "Vehtari et al. 2024",
        "A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, Pareto smoothed importance sampling "
        "(k-hat)",
        "https://arxiv.org/abs/1507.02646",
    ),
)


def title_of(name: str) -> str:
    """The title of an entry by its name; the name's own words where it has none.

    ``z2-moments-ew`` is that of ``z2-moments`` with "under q_EW", ``samples-2`` that of
    ``samples``, whose sentence names the model.
    """
    if name in TITLES:
        return TITLES[name]
    stem, _, number = name.rpartition("-")
    if number.isdigit() and stem in TITLES:
        return f"{TITLES[stem]} ({number})"
    for ending, words in VARIANTS.items():
        stem = name.removesuffix(ending)
        if stem != name and stem in TITLES:
            return f"{TITLES[stem]}, {words}"
    words = name.replace("-", " ")
    return words[:1].upper() + words[1:]
