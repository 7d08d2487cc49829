"""Writes one API page for every part of the package: its modules, in order, with what they document."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "adorym"
TITLE_LEVELS = "=-"


def title(text: str, level: int) -> str:
    """A reStructuredText title."""
    return f"{text}\n{TITLE_LEVELS[level] * len(text)}\n"


def modules(part: Path) -> list[str]:
    """Dotted names of the public modules of ``part``, a module or a package, the package itself first."""
    paths = sorted(part.rglob("*.py")) if part.is_dir() else [part]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    names = [name.removesuffix(".__init__") for name in names]
    return sorted(name for name in names if not any(word.startswith("_") for word in name.split(".")))


def page(part: Path) -> str:
    """The page of ``part``."""
    first, *others = modules(part)
    lines = [title(first, 0), f".. automodule:: {first}\n   :ignore-module-all:\n"]
    for name in others:
        lines += [title(name.removeprefix(f"{first}."), 1), f".. automodule:: {name}\n   :ignore-module-all:\n"]
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Write the pages into ``folder``; pages of parts that are gone are removed, unchanged ones left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [p for p in PACKAGE.iterdir() if (p / "__init__.py").is_file() or p.suffix == ".py"]
    pages = {f"{p.stem}.rst": page(p) for p in parts if not p.name.startswith("_")}
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(__file__).resolve().parent / "_generated" / "api")
