"""What stands on the package's page, and what an installation brings with it."""

import ast
import configparser
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pyro_vae.cli import COMMANDS, fit

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "PACKAGE.md").read_text(encoding="utf-8")
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
OURS = {"pyro_vae", "analysis", "experiments"}


def requirements(extra=None):
    """Names of what is installed with the package, or with one of its extras."""
    text = SETUP["options.extras_require"][extra] if extra else SETUP["options"]["install_requires"]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {re.split(r"[\s<>=!\[;]", line)[0].lower().replace("_", "-") for line in lines}


def test_links_of_the_page_are_whole():
    """On a package's page a path into the repository leads nowhere."""
    links = re.findall(r"\]\(([^)]*)\)", PAGE)
    assert len(links) > 4
    assert all(link.startswith("https://") for link in links), links


def test_the_page_names_the_extras_and_commands_that_there_are():
    assert set(re.findall(r"pyro_vae\[(\w+)\]", PAGE)) <= set(SETUP["options.extras_require"])
    (line,) = re.findall(r"^pyro-vae fit (.*)$", PAGE, re.M)
    assert fit.parser().parse_args(shlex.split(line)).run_dir == "runs/first"
    listed = re.search(r"lists what\s+can be done with it: (.*?) and more", PAGE, re.S)[1]
    assert set(re.findall(r"`([\w-]+)`", listed)) <= set(COMMANDS)


def imported(folder):
    """Top names of all that the files of a folder import, inside functions too."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", sorted(OURS))
def test_what_is_imported_is_installed(folder):
    """A library that only happens to be there, with another one, may be gone tomorrow."""
    distributions = metadata.packages_distributions()
    declared = requirements()
    for name in set(imported(folder)) - OURS - set(sys.stdlib_module_names):
        brought_by = {one.lower().replace("_", "-") for one in distributions[name]}
        assert brought_by & declared, f"{name} is imported, and setup.cfg does not ask for it"


def test_what_is_found_by_name_is_installed():
    """xarray looks for h5netcdf, and this for h5py, which it does not bring along by itself."""
    assert {"h5netcdf", "h5py"} <= requirements()


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-newest.txt"])
def test_what_is_installed_is_pinned(name):
    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / name).read_text(encoding="utf-8").split()
    }
    assert requirements() | requirements("test") <= pins
