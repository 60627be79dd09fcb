"""--device: GPUs by number, of a machine that is said to have some."""

import pytest
import torch

from pyro_vae.errors import InputError
from pyro_vae.runs.devices import check_device, device_named


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many GPUs; returns the list of those that were made the current one."""

    def has(count):
        current = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", current.append)
        return current

    return has


@pytest.mark.parametrize(
    ("name", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cpu", None)]
)
def test_a_gpu_is_chosen_and_made_the_current_one(machine, name, index):
    current = machine(2)
    expected = torch.device("cpu") if index is None else torch.device("cuda", index)
    assert device_named(name) == expected
    assert current == [expected] * (index is not None)


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_a_gpu_it_is_the_cpu(machine, name):
    assert machine(0) == []
    assert device_named(name) == torch.device("cpu")


def test_several_processes_take_the_gpus_of_their_ranks(machine, monkeypatch):
    current = machine(2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_named("cuda") == device_named("auto") == torch.device("cuda", 1)
    assert current == [torch.device("cuda", 1)] * 2
    with pytest.raises(InputError, match=r"cuda:0: each of several .* CUDA_VISIBLE_DEVICES"):
        device_named("cuda:0")


@pytest.mark.parametrize(
    ("count", "name", "message"),
    [
        (0, "cuda", "--device cuda: torch finds no CUDA device here; allowed: auto, cpu"),
        (0, "cuda:1", "--device cuda:1: torch finds no CUDA device here"),
        (1, "cuda:1", "--device cuda:1: torch finds 1 CUDA device here; the last is cuda:0"),
        (2, "cuda:5", "--device cuda:5: torch finds 2 CUDA devices here; the last is cuda:1"),
        (0, "mps", "--device mps: Apple's GPU has no double precision"),
        (0, "mps:0", "--device mps:0: Apple's GPU"),
        (2, "cuda:", "unknown device 'cuda:'; allowed: auto, cpu, cuda, cuda:N"),
        (2, "cuda:-1", "unknown device 'cuda:-1'"),
        (2, "CUDA", "unknown device 'CUDA'"),
    ],
)
def test_a_device_that_is_not_there_is_refused(machine, count, name, message):
    current = machine(count)
    with pytest.raises(InputError, match=message):
        device_named(name)
    assert current == []


def test_the_name_of_an_absent_gpu_may_stand_in_a_configuration(machine):
    machine(0)
    assert check_device("cuda:7") == "cuda:7"
