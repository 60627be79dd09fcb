"""pyro_vae: importance-weighted and hierarchical variational autoencoders in Pyro.

>>> data = pyro_vae.load_dataset("natural")
>>> model, guide = pyro_vae.build_pair("td", "topdown", num_pixels=data.train.shape[1])
>>> pyro_vae.fit(model, guide, data.train, valid=data.valid, objective=pyro_vae.IWAE(50))
>>> pyro_vae.evaluation.log_likelihood(model, guide, data.test[:100])
>>> idata = pyro_vae.to_inference_data(model, guide, data.test[:20], num_particles=50)

Names are imported when they are first asked for (``__init__.pyi`` lists them): importing the
package does nothing, and the command line can set up its process before torch starts.
"""

import lazy_loader

from pyro_vae.version import __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
