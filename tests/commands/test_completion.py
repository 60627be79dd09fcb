"""``pyro-vae completion``: what bash offers, asked of bash itself."""

import shutil
import subprocess
import sys

import pytest

from pyro_vae import cli
from pyro_vae.cli.completion import NAMES, all_commands
from pyro_vae.objectives import OBJECTIVES
from tests.commands.answers import answer


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    import shtab

    path = tmp_path_factory.mktemp("completion") / "pyro-vae"
    path.write_text(shtab.complete(all_commands(), shell="bash"))
    return path


def offered(script, *words, folder=None):
    """What bash offers for the last of the words, as its TAB key asks for it."""
    typed = " ".join(f"'{word}'" for word in ("pyro-vae", *words))
    asked = f"""
    shopt -s progcomp; compopt() {{ :; }}
    source '{script}'
    COMP_WORDS=({typed}); COMP_CWORD={len(words)}
    _shtab_pyro_vae pyro-vae '{words[-1]}' '{("pyro-vae", *words)[-2]}'
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, timeout=60, cwd=folder, check=False
    )
    assert done.stderr == ""
    return {line.strip() for line in done.stdout.splitlines()} - {""}


def test_commands_flags_and_names_are_offered(script, tmp_path):
    assert offered(script, "") == cli.COMMANDS.keys()
    assert offered(script, "re") == {"reconstruct", "refit", "report", "replicate"}
    assert offered(script, "fit", "--num-p") == {"--num-particles"}
    assert offered(script, "fit", "--objective", "") == set(OBJECTIVES)
    assert offered(script, "completion", "") == {"bash", "zsh"}
    (tmp_path / "runs").mkdir()
    (tmp_path / "readme").touch()
    assert offered(script, "evaluate", "r", folder=tmp_path) == {"runs"}
    assert offered(script, "evaluate", "runs", "r", folder=tmp_path) == {"runs", "readme"}


def test_a_reader_that_leaves_ends_a_command_without_a_word():
    asked = f"'{sys.executable}' -m pyro_vae completion bash | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[1:] == ["141"]
    assert done.stderr == ""


def test_names_are_those_of_flags():
    (commands,) = all_commands()._subparsers._group_actions
    given = {action.dest for one in commands.choices.values() for action in one._actions}
    assert NAMES.keys() <= given


def test_the_script_is_printed_and_answered(capsys):
    assert cli.main(["completion", "zsh"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("#compdef pyro-vae")
    found = answer(capsys, "completion", "zsh")
    assert found["script"].strip() == printed.strip()


def test_an_unknown_shell_is_named(capsys):
    assert cli.main(["completion", "csh"]) == 2
    assert "unknown shell 'csh'; allowed: bash, zsh" in capsys.readouterr().err
