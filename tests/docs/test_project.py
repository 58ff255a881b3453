"""What the files of the project say about versions agrees."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins(name: str) -> dict[str, Version]:
    """Return the versions of a file of constraints, by package."""
    lines = re.findall(r"^([\w-]+)==(\S+)$", (ROOT / name).read_text(), re.M)
    return {package.lower(): Version(version) for package, version in lines}


def promised(extras: list[str]) -> list[Requirement]:
    """Return what the package and some of its extras require."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return [Requirement(line) for line in lines]


def test_the_lowest_promised_versions_are_those_that_are_tested() -> None:
    tested = pins("constraints-lowest.txt")
    for requirement in promised(["test", "spams", "tensorboard"]):
        (limit,) = requirement.specifier
        assert limit.operator == ">="
        assert Version(limit.version) == tested[requirement.name.lower()], requirement


def test_the_constraints_name_a_version_of_every_requirement() -> None:
    tested = pins("constraints.txt")
    for requirement in promised(list(EXTRAS)):
        assert requirement.specifier.contains(tested[requirement.name.lower()]), requirement


def test_the_citation_has_the_version_of_the_package() -> None:
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"  version = {{{PROJECT['version']}}}," in (ROOT / "README.md").read_text()
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()
