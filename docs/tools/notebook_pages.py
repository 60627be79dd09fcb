"""A committed notebook as a page: its text, code and outputs as Markdown, its pictures as files.

Outputs are those that the notebook holds: nothing is run. Tables of pandas stay tables, other
values are shown as they print.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

MAX_LINES = 40  # of one printed output


def rendered(path: Path) -> dict[str, str | bytes]:
    """File name -> content: the page ``NAME.md``, its pictures ``NAME-1.png``, the notebook."""
    notebook = path.read_text(encoding="utf-8")
    cells = json.loads(notebook)["cells"]
    files: dict[str, str | bytes] = {}
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            parts.append(shown(output, f"{path.stem}-{len(files) + 1}.png", files))
    title, *rest = parts[0].split("\n", 1)
    note = (
        f"*The notebook [{path.name}](files/{path.name}), shown with the outputs it was committed "
        "with. To run it: `pip install jupyterlab` beside pyro_vae, then `jupyter lab`.*"
    )
    files[f"files/{path.name}"] = notebook
    files[f"{path.stem}.md"] = "\n\n".join([title, note, *rest, *parts[1:]]) + "\n"
    return files


def shown(output: dict, picture: str, files: dict[str, str | bytes]) -> str:
    """One output as Markdown; a picture is put into ``files`` under the name ``picture``."""
    data = output.get("data", {})
    if "image/png" in data:
        files[picture] = base64.b64decode("".join(data["image/png"]))
        return f"![output]({picture})"
    html = "".join(data.get("text/html", ""))
    if 'class="dataframe"' in html:
        table = re.search(r"<table.*?</table>", html, re.S)[0]
        return f'<div class="md-typeset__scrollwrap">{table}</div>'
    lines = "".join(data.get("text/plain", output.get("text", ""))).rstrip().splitlines()
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"... {len(lines) - MAX_LINES} lines more"]
    return "```text\n" + "\n".join(lines) + "\n```"
