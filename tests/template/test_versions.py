"""Checks which deployments give the functions a new version and so reach the API."""

import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from testing.cloudformation import ROOT, load_template, resources_of_type
from tests.template.transformed import Json, code_resources, transformed
from tools.deploy.digest import digest_of

FUNCTIONS = resources_of_type(load_template(), "AWS::Serverless::Function")


@dataclass
class Build:
    """A folder that `sam build` made, and the parameter values of a deployment."""

    folder: Path
    template: Path
    parameters: dict[str, str] = field(default_factory=dict)

    def deployed(self) -> Json:
        """The transformed template. The address of code depends on its contents."""
        digest = digest_of(self.folder, self.template, self.parameters)
        code = {name: self._digest_of_files(name) for name in code_resources()}
        return transformed(self.parameters | {"CodeDigest": digest}, code)

    def _digest_of_files(self, name: str) -> str:
        files = sorted(path for path in (self.folder / name).rglob("*") if path.is_file())
        return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@pytest.fixture
def build(tmp_path: Path) -> Build:
    folder = tmp_path / "build"
    for name, function in FUNCTIONS.items():
        shutil.copytree(ROOT / function["CodeUri"], folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "layers/gyoza_domain/gyoza_domain", folder / "DomainLayer/python/gyoza_domain")
    return Build(folder, Path(shutil.copy(ROOT / "template.yaml", tmp_path)))


def versions(template: Json) -> dict[str, str]:
    """The logical id of each function's version, by function."""
    return {
        each["Properties"]["FunctionName"]["Ref"]: name
        for name, each in template["Resources"].items()
        if each["Type"] == "AWS::Lambda::Version"
    }


def new_versions(before: Json, after: Json) -> set[str]:
    """The functions with another version ``after`` and another $LATEST. Lambda publishes a version only of a changed
    $LATEST.
    """
    old, new = versions(before), versions(after)
    assert set(old) == set(new) == set(FUNCTIONS)
    changed = {name for name in new if new[name] != old[name]}
    assert all(before["Resources"][name] != after["Resources"][name] for name in changed)
    return changed


def test_another_function_gives_every_function_a_new_version(build: Build) -> None:
    before = build.deployed()
    (build.folder / "GetRun/app.py").write_text("another = True\n")
    assert new_versions(before, build.deployed()) == set(FUNCTIONS)


def test_another_layer_gives_every_function_a_new_version(build: Build) -> None:
    before = build.deployed()
    (build.folder / "DomainLayer/python/gyoza_domain/__init__.py").write_text("another = True\n")
    assert new_versions(before, build.deployed()) == set(FUNCTIONS)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("IndexShards", "2"), ("LogLevel", "DEBUG"), ("SnapStart", "PublishedVersions"), ("Tracing", "Active")],
)
def test_another_value_of_a_parameter_gives_every_function_a_new_version(
    build: Build, parameter: str, value: str
) -> None:
    before = build.deployed()
    build.parameters[parameter] = value
    assert new_versions(before, build.deployed()) == set(FUNCTIONS)


def test_another_template_gives_every_function_a_new_version(build: Build) -> None:
    before = build.deployed()
    build.template.write_text(build.template.read_text() + "\n# another\n")
    assert new_versions(before, build.deployed()) == set(FUNCTIONS)


def test_a_deployment_of_the_same_build_transforms_to_the_same_template(build: Build) -> None:
    before = build.deployed()
    (build.folder / "template.yaml").write_text("sam build writes here: " + str(build.folder))
    assert build.deployed() == before


def test_a_deployment_without_a_digest_follows_the_layer() -> None:
    before, after = transformed(), transformed(code={"DomainLayer": "another"})
    assert new_versions(before, after) == set(FUNCTIONS)


def test_a_version_that_no_alias_names_is_deleted() -> None:
    template = transformed()
    kept = [
        name for name in versions(template).values() if template["Resources"][name].get("DeletionPolicy") != "Delete"
    ]
    assert kept == []
    aliases = [each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Alias"]
    named = {alias["Properties"]["FunctionVersion"]["Fn::GetAtt"][0] for alias in aliases}
    assert named == set(versions(template).values())
