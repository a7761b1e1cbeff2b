"""What is counted of a package is what stands in it."""

from pathlib import Path

import house

TWICE = "".join(f"    print({number})\n" for number in range(6))
PACKAGE = {
    "__init__.py": "",
    "first.py": f'from package import second\n\n\ndef typed(a: int) -> None:\n    """No line of code."""\n{TWICE}',
    "second.py": "from .third import name\n\n\ndef bare(a):\n    return name\n",
    "third.py": f"name = 1\n\n\ndef late() -> None:\n    from package.first import typed\n\n{TWICE}",
    "seen.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from package import user\n",
    "user.py": "import package.seen\n",
}


def test_a_package_is_counted(tmp_path: Path) -> None:
    for name, text in PACKAGE.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    found = house.measure(tmp_path / "package")
    assert (found.files, found.lines, found.functions) == (6, 33, 3)
    assert (found.longest_function, found.longest_name) == (9, "third.py: late")
    assert found.modules_in_circles == 3  # what only a type checker sees is no circle
    assert found.typed_share == 0.667
    assert found.duplicated_lines == 12
