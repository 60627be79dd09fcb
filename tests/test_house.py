"""The order of the house: what imports may do, which room knows which, and how long files are."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import house

ROOT = Path(__file__).resolve().parents[1]
ROOMS = house.ROOMS
OURS = house.ours()
MAX_LINES, MAX_PARAMETERS, MAX_LOOSE, MAX_SKIPS = 300, 10, 8, 3
MAX_KEY_READS, MAX_SHARED_NAMES = 5.0, 3  # reads per 1000 lines

# Programs make weights, weights make objectives, objectives train, evaluation judges, runs keep:
# a room may import those that stand before it here.
ORDER = (
    "distributions",
    "programs",
    "weights",
    "objectives",
    "evaluation",
    "training",
    "export",
    "runs",
    "encoder",
    "cli",
)
# The ground floor and the data sets stand beside: all rooms may use them, they use no room.
GROUND = ("errors", "options", "rows", "storage", "ticking", "torch_state", "version")
BESIDE = "datasets"
DOORS = ("__init__", "__main__")  # which give everything out


def sources(*rooms):
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def imported_modules(path):
    """Full names of the modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.fixture(scope="module")
def import_report():
    """What `import pyro_vae` changes in a fresh process where pyro is imported already."""
    script = """
import json, os, random, signal, sys, warnings
import numpy as np, pyro, torch

def state():
    return {
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": repr(np.random.get_state()),
        "python generator": repr(random.getstate()),
        "dtype": str(torch.get_default_dtype()),
        "device": str(torch.get_default_device()),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "denormals flushed": (torch.tensor([1], dtype=torch.int32).view(torch.float32)
                              * 1.0).item() == 0.0,
        "pyro validation": pyro.infer.util.is_validation_enabled(),
        "torch validation": torch.distributions.Distribution._validate_args,
        "parameters": sorted(pyro.get_param_store().keys()),
        "warning filters": repr(warnings.filters),
        "signals": [repr(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "files": sorted(os.listdir()),
        "arguments": list(sys.argv),
        "hooks": repr((sys.excepthook, sys.displayhook)),
        "path": list(sys.path),
    }

before = state()
import pyro_vae
after = state()
print(json.dumps({
    "changed": [name for name in before if before[name] != after[name]],
    "number": len(before),
    "modules": sorted(sys.modules),
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_importing_changes_no_global_state(import_report):
    assert import_report["number"] > 15
    assert import_report["changed"] == []


@pytest.mark.parametrize(
    "name",
    [
        "arviz",
        "xarray",
        "skimage",
        "sklearn",
        "matplotlib",
        "pooch",
        "imageio",
        "experiments",
        "analysis",
    ],
)
def test_importing_loads_no_heavy_library(import_report, name):
    assert "pyro_vae" in import_report["modules"]
    assert name not in import_report["modules"]


def test_the_library_knows_neither_commands_nor_pictures():
    """The command line is the outermost room: it reads flags, and finds pictures by name."""
    for path in sources("pyro_vae"):
        for module in imported_modules(path):
            top = module.split(".")[0]
            assert top not in ("experiments", "analysis", "tests"), path
            assert top != "matplotlib", path
            assert top != "argparse" or path.parent.name == "cli", path


def room_of(name):
    """programs of pyro_vae/programs/guides.py or of pyro_vae.programs.guides."""
    return name.removesuffix(".py").replace(".", "/").split("/")[1]


def rooms_imported(path):
    """Rooms and loose modules of the library that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "pyro_vae":
            names = [f"pyro_vae.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["pyro_vae." * (node.level > 0) + (node.module or "")]
        else:
            continue
        for name in names:
            if name == "pyro_vae" or name.startswith("pyro_vae."):
                yield room_of(f"{name}.__init__")


def test_imports_go_one_way():
    for path in sources("pyro_vae"):
        here = room_of(path.relative_to(ROOT).as_posix())
        if here in DOORS:
            continue
        if here in ORDER:
            allowed = {here, *ORDER[: ORDER.index(here)], *GROUND, BESIDE}
        else:
            assert here in (*GROUND, BESIDE), f"say where {here} stands"
            allowed = {here, *GROUND}
        found = set(rooms_imported(path))
        assert found <= allowed, f"{path}: {sorted(found - allowed)}"


def test_few_files_lie_loose():
    assert len(OURS.loose) <= MAX_LOOSE, OURS.loose
    assert set(OURS.loose) == {f"{name}.py" for name in GROUND}


def test_tables_alone_are_kept_from_the_formatter():
    folders = [ROOT / room for room in (*ROOMS, "tests", "benchmarks")]
    assert house.House("all", folders).skips <= MAX_SKIPS


def test_attributes_are_read_rather_than_keys():
    for room in ("", *(f"{name}/" for name in ROOMS)):
        assert OURS.key_reads(room) <= MAX_KEY_READS, room


def test_file_names_stand_in_one_folder():
    shared = OURS.shared_names(house.MATRIX)
    assert len(shared) <= MAX_SHARED_NAMES, shared


def test_no_function_but_a_facade_has_many_parameters():
    worst = OURS.inner_functions[0]
    assert worst.parameters <= MAX_PARAMETERS, worst


def test_facades_are_what_they_are_listed_for():
    places = {one.place: one for one in OURS.functions}
    for place, reason in house.FACADES.items():
        assert places[place].parameters > MAX_PARAMETERS, place
        assert reason


def test_the_counts_of_the_house(tmp_path):
    (tmp_path / "room" / "one").mkdir(parents=True)
    (tmp_path / "room" / "two").mkdir()
    text = '''"""See https://arxiv.org/abs/1509.00519."""
class A:
    def method(self, a, b, *, c, **d):
        x["written"] = x["read"]
        del x["deleted"]
        return x[0], x[a], f(x)["read"]["read"]
'''
    for name in ("loose", "__init__", "one/same", "two/same", "two/other"):
        (tmp_path / "room" / f"{name}.py").write_text(text if name == "loose" else "\n")
    found = house.House("room", [tmp_path / "room"])
    assert found.key_reads() == pytest.approx(1000 * 3 / 10)
    assert found.shared_names() == {"same.py": ["room/one", "room/two"]}
    assert found.shared_names(["room/one", "room/two"]) == {}
    assert found.loose == ["loose.py"]
    assert str(found.functions[0]) == "4 (room/loose.py:A.method)"
    assert [found.sources[1].links, found.sources[1].classes] == [1, 1]
    assert '| `x["key"]` reads per 1000 lines | 300.0 |' in house.table([found])


def test_analysis_never_trains():
    for path in sources("analysis"):
        for module in imported_modules(path):
            assert not module.startswith(("experiments", "pyro_vae.training")), path


def test_pyro_runs_in_one_file_and_arviz_is_made_in_one():
    def naming(text):
        return {path.name for path in sources("pyro_vae") if text in path.read_text()}

    assert naming("poutine.trace(") == set()
    assert naming("_pyro_post_sample") == {"handlers.py"}
    assert naming("import arviz\n") == naming("DataTree.from_dict(") == {"arviz_forms.py"}


@pytest.mark.parametrize("path", sources(*ROOMS), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long(path):
    length = len(path.read_text(encoding="utf-8").splitlines())
    assert length <= MAX_LINES


def test_every_module_says_what_it_is_for():
    for path in sources(*ROOMS):
        text = path.read_text(encoding="utf-8")
        if text:
            assert ast.get_docstring(ast.parse(text)), path


def test_every_public_name_exists_and_the_sorted_list_is_whole():
    import pyro_vae

    assert sorted(set(pyro_vae.__all__)) == sorted(pyro_vae.__all__)
    for name in pyro_vae.__all__:
        assert hasattr(pyro_vae, name), name


def test_the_package_is_typed():
    assert (ROOT / "pyro_vae" / "py.typed").is_file()
