"""Data as rows: one tensor, or a tuple of tensors that share their first axis.

:func:`as_data` is the one place where what people have (arrays, frames, tensors of another type)
becomes what programs read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.torch_state import modules_of

Data = Tensor | tuple[Tensor, ...]


def as_arguments(x: Data) -> tuple[Tensor, ...]:
    """The arguments that a program is called with."""
    return x if isinstance(x, tuple) else (x,)


def count_rows(x: Data) -> int:
    """Number of data."""
    return len(as_arguments(x)[0])


def pieces(total: int, most: int) -> list[int]:
    """``total`` particles or draws as pieces of at most ``most``; the last one may be smaller."""
    return [min(most, total - start) for start in range(0, total, most)]


def split_rows(x: Data, size: int) -> Iterator[Data]:
    """The data in pieces of at most ``size`` rows, of the same form as ``x``."""
    if isinstance(x, tuple):
        return zip(*(part.split(size) for part in x), strict=True)
    return iter(x.split(size))


def first_rows(x: Data, number: int) -> Data:
    """The first ``number`` rows, of the same form as ``x``."""
    return tuple(part[:number] for part in x) if isinstance(x, tuple) else x[:number]


def as_data(x: Any, *programs: Callable, what: str = "x") -> Data:
    """``x`` as the programs read it: tensors of their type, on their device, finite, with rows.

    Takes tensors of any real type, NumPy arrays, nested lists of numbers, what has a ``to_numpy``
    (data frames and series of pandas, arrays of xarray), and tuples of these, which are a program's
    several arguments. What is right already is returned as it is, without a copy.

    Floats get the floating type of the programs' parameters, or torch's default where there are no
    parameters to be seen and x is no tensor. Integers and booleans become floats as well, but for
    tensors given to other people's programs, and members of a tuple: those may be labels, tokens
    or masks.

    Args:
        programs: model, guide or both; modules, methods of modules, or functions.
        what: what errors call the data.

    Raises:
        InputError: something that is no program; no numbers (text, objects, dates, complex numbers,
            a masked array), no rows, values that are not finite, parts of a tuple with different
            numbers of rows.
    """
    target = _Target(programs)
    if not isinstance(x, tuple):
        return _checked(target.convert(_as_tensor(x, what), isinstance(x, Tensor)), what)
    if not x:
        raise InputError(f"{what} is an empty tuple; give one array for every argument")
    names = [f"{what}[{index}]" for index in range(len(x))]
    parts = tuple(
        _checked(target.convert(_as_tensor(part, name), True), name)
        for part, name in zip(x, names, strict=True)
    )
    for part, name in zip(parts, names, strict=True):
        if len(part) != len(parts[0]):
            raise InputError(
                f"{names[0]} has {len(parts[0])} rows and {name} has {len(part)}; all arguments "
                "of a program must have the same number"
            )
    return parts


class _Target:
    """The floating type and the device of some programs, where they tell."""

    def __init__(self, programs: tuple[Callable, ...]) -> None:
        tensors = [tensor for program in programs for tensor in _tensors_of(program)]
        floats = [tensor for tensor in tensors if tensor.is_floating_point()]
        self.dtypes = list(dict.fromkeys(tensor.dtype for tensor in floats))
        self.devices = list(dict.fromkeys(tensor.device for tensor in tensors))
        self.reads_numbers = any(getattr(program, "reads_numbers", False) for program in programs)

    def convert(self, x: Tensor, keep_type: bool) -> Tensor:
        """The tensor as the programs want it; ``keep_type`` of integers, and of unknown wants."""
        dtype = x.dtype
        if x.is_floating_point():
            if self.dtypes:
                dtype = dtype if dtype in self.dtypes else self.dtypes[0]
            elif not keep_type:
                dtype = torch.get_default_dtype()
        elif self.reads_numbers or not keep_type:
            dtype = self.dtypes[0] if self.dtypes else torch.get_default_dtype()
        device = x.device
        if self.devices and device not in self.devices:
            device = self.devices[0]
        return x.to(device=device, dtype=dtype)


def _tensors_of(program: Callable) -> Iterator[Tensor]:
    """Parameters and buffers of a module, or of the modules that a function refers to."""
    if isinstance(program, type) or not callable(program):
        given = f"the class {program.__name__}" if isinstance(program, type) else repr(program)
        raise InputError(
            f"model and guide must be Pyro programs, modules or functions of the data; got {given}"
        )
    # A program made for training tells the parameters in Pyro's store as well.
    tells = hasattr(program, "named_parameters")
    parts: Iterable[Any] = [program] if tells else modules_of(program)
    for part in parts:
        yield from part.parameters()
        yield from part.buffers()


def _as_tensor(x: Any, what: str) -> Tensor:
    """Numbers of any kind as a tensor of their own type; InputError for what holds no numbers."""
    if isinstance(x, Tensor):
        if x.layout != torch.strided:
            raise InputError(f"{what} is a sparse tensor; give {what}.to_dense()")
        if x.is_complex():
            raise InputError(f"{what} holds complex numbers; programs read real ones")
        return x
    if x is None or isinstance(x, (str, bytes, PathLike, Mapping)):
        given = "None" if x is None else f"{type(x).__name__} {str(x)[:60]!r}"
        raise InputError(
            f"{what} is {given}, not an array of numbers; files are read by pyro_vae.load_dataset"
        )
    if hasattr(x, "train") and hasattr(x, "test"):
        raise InputError(f"{what} is a whole data set; give one of its parts, such as .test")
    return _from_numpy(_as_array(x, what), what)


def _as_array(x: Any, what: str) -> np.ndarray:
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise InputError(
            f"{what} is a masked array with {np.ma.count_masked(x)} values missing; fill them, or "
            "give the mask to your program as a second argument"
        )
    if hasattr(x, "to_numpy"):
        return _of_frame(x, what)
    if isinstance(x, (list, range)) and any(isinstance(part, Tensor) for part in x):
        raise InputError(
            f"{what} is a list of tensors; give one tensor (torch.stack), or a tuple with one "
            "tensor for every argument of the programs"
        )
    try:
        return np.asarray(x)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{what} is no array of numbers: {error}") from error


def _of_frame(x: Any, what: str) -> np.ndarray:
    """The numbers of a data frame or series, whose columns that hold none are named."""
    types: Any = getattr(x, "dtypes", None)
    if hasattr(types, "items"):
        wrong = [str(n) for n, t in types.items() if getattr(t, "kind", "f") not in "biuf"]
        if wrong:
            more = ", ..." if len(wrong) > 5 else ""
            raise InputError(
                f"column {', '.join(wrong[:5])}{more} of {what} holds no numbers; leave such "
                "columns out, or encode them"
            )
    values = x.to_numpy()
    if values.dtype == object and getattr(types, "kind", "f") != "O":
        # Columns of several types, or missing values of pandas, which become NaN and are found.
        values = x.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def _from_numpy(values: np.ndarray, what: str) -> Tensor:
    kind = values.dtype.kind
    if kind not in "biuf":
        held = {
            "O": "Python objects",
            "U": "text",
            "S": "text",
            "c": "complex numbers",
            "M": "dates",
            "m": "time spans",
        }.get(kind, f"records of type {values.dtype}")
        first = f", such as {values.flat[0]!r:.60}" if values.size and kind in "OUS" else ""
        raise InputError(f"{what} holds {held}{first}, not real numbers")
    if kind == "u" and values.dtype.itemsize > 1:
        values = values.astype(np.int64 if values.dtype.itemsize < 8 else np.float64)
    if kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    # torch reads no other byte order and warns of what it cannot write. Rows one after the other:
    # products of matrices that are stored by columns, as those of data frames, round otherwise.
    values = np.require(values, values.dtype.newbyteorder("="), ["C_CONTIGUOUS", "WRITEABLE"])
    return torch.from_numpy(values)


def _checked(x: Tensor, what: str) -> Tensor:
    """The tensor, if it has rows and all its numbers are finite."""
    if x.ndim == 0:
        raise InputError(f"{what} is a single number; data are rows, an array of at least one axis")
    if x.numel() == 0:
        raise InputError(f"{what} holds no data: its shape is {tuple(x.shape)}")
    if x.is_floating_point() and not torch.isfinite(x).all():
        wrong = ~torch.isfinite(x.detach())
        row = wrong.flatten(1).any(1).nonzero()[0].item() if x.ndim > 1 else wrong.nonzero()[0]
        raise InputError(
            f"{what} holds {int(wrong.sum())} values that are not finite as "
            f"{str(x.dtype).removeprefix('torch.')}, the first in row {int(row)}; fill what is "
            "missing, or leave those rows out"
        )
    return x
