"""Pages of the site that stand at the root of the repository, where people look for them first."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages, with links as they are from within `docs/`."""
    root = Path(config.config_file_path).parent
    for source, page in PAGES.items():
        text = (root / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=re.sub(r"\]\(([^)\s]+)\)", _from_docs, text)))
    return files


def _from_docs(link: re.Match[str]) -> str:
    target = link[1].removeprefix("docs/")
    return f"]({PAGES.get(target, target)})"
