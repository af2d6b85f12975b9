"""Guards for code that uses private parts of a package."""

from importlib.metadata import version


class WrittenForAnotherVersion(Exception):
    """The installed package is not the one whose private parts the code knows."""


def require_version(package: str, written_for: str, module: str) -> None:
    """Raises WrittenForAnotherVersion unless the installed version is ``written_for``.

    ``module`` is the name of the module that uses the private parts.
    """
    installed = version(package)
    if installed != written_for:
        raise WrittenForAnotherVersion(
            f"{package} {installed} is installed, but {module} uses private parts of {written_for}. Compare each with"
            " its original, then change the version in that module"
        )
