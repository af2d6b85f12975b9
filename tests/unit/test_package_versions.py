"""Tests the guard of code that uses private parts of a package."""

from importlib.metadata import version

import pytest

from testing.versions import WrittenForAnotherVersion, require_version


def test_a_package_of_another_version_is_refused_with_both_versions() -> None:
    with pytest.raises(WrittenForAnotherVersion, match=rf"pytest {version('pytest')} .* module uses .* of 0\.1"):
        require_version("pytest", "0.1", "module")


def test_a_package_of_the_right_version_passes() -> None:
    require_version("pytest", version("pytest"), "module")
