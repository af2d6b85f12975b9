"""Finds the address and the key of the API. Both come from one source, the first that gives either."""

import ipaddress
import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gyoza_client._errors import ConfigurationError

_DEFAULT_PROFILE: Final = "default"

_URL_VARIABLES: Final = ("GYOZA_URL", "GYOZA_SERVER_URL")
ADDRESS_VARIABLES: Final = (*_URL_VARIABLES, "GYOZA_API_KEY")
"""The variables of the environment that come before any profile."""

_ARGUMENTS: Final = "the arguments"
"""The name of the only source that is a plural."""

_PORTS: Final = {"http": 80, "https": 443}

_CONNECT_LIMIT_S: Final = 0.2


@dataclass(frozen=True)
class Address:
    url: str
    """Without a slash at its end."""
    api_key: str
    is_loopback: bool

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def find_address(
    url: str | None = None,
    api_key: str | None = None,
    profile: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Address:
    """The address and the key. ``folder`` is where a local stack may run, the current one by default.

    The sources, first to last: the arguments; the environment (GYOZA_URL, also GYOZA_SERVER_URL, and GYOZA_API_KEY);
    the profile of the argument or of GYOZA_PROFILE; the local stack that runs in the folder; the profile named default.
    Raises ConfigurationError if a source gives one without the other, or if none gives any.
    """
    named = profile or environ.get("GYOZA_PROFILE")
    sources: list[Callable[[], Address | None]] = [
        lambda: _address(_ARGUMENTS, url, api_key),
        lambda: _from_environment(environ),
        lambda: _from_profile(named, environ) if named else None,
        lambda: _from_local_stack(folder or Path.cwd(), environ),
        lambda: _from_profile(_DEFAULT_PROFILE, environ, must_exist=False),
    ]
    for source in sources:
        found = source()
        if found is not None:
            return found
    raise ConfigurationError(
        "No address of a gyoza API. Set GYOZA_URL and GYOZA_API_KEY, or give url= and api_key=,"
        f" or write them below [{_DEFAULT_PROFILE}] into {profiles_path(environ)}"
    )


def check_address(source: str, url: str, api_key: str) -> Address:
    """The address, if a client can use it. Raises ConfigurationError, which names ``source`` and shows no key."""
    found = _address(source, url, api_key)
    if found is None:
        raise ConfigurationError(f"{source} has neither the URL nor the key")
    return found


def _from_environment(environ: Mapping[str, str]) -> Address | None:
    urls = {name: environ[name] for name in _URL_VARIABLES if environ.get(name)}
    if len(set(urls.values())) > 1:
        raise ConfigurationError("GYOZA_URL and GYOZA_SERVER_URL differ. Set one of them")
    return _address(
        "the environment (GYOZA_URL, GYOZA_API_KEY)", next(iter(urls.values()), None), environ.get("GYOZA_API_KEY")
    )


def _from_profile(name: str, environ: Mapping[str, str], *, must_exist: bool = True) -> Address | None:
    import tomllib  # noqa: PLC0415 - most processes read no profile

    path = profiles_path(environ)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigurationError(f"{path} holds keys and others may read it. chmod 600 {path}")
            profiles = tomllib.load(file)
    except FileNotFoundError:
        profiles = {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as reason:
        raise ConfigurationError(f"{path} cannot be read: {reason}") from reason
    values = profiles.get(name)
    if not isinstance(values, dict):
        if must_exist or values is not None:
            raise ConfigurationError(f"{path} has no profile [{name}]")
        return None
    found = _address(f"the profile [{name}] in {path}", values.get("url"), values.get("api_key"))
    if found is None:
        raise ConfigurationError(f"The profile [{name}] in {path} has neither url nor api_key")
    return found


def _from_local_stack(folder: Path, environ: Mapping[str, str]) -> Address | None:
    """The stack of ``make run`` on the port PORT, else the only one that runs in the folder.

    A stack that was killed outright leaves its file, so a file counts only if its address takes connections.
    """
    stacks = folder / ".local/stacks"
    port = environ.get("PORT", "")
    paths = [path for path in sorted(stacks.glob("*/endpoint.json")) if port in ("", path.parent.name)]
    found = {path.parent.name: address for path in paths if (address := _read_stack(path)) and _is_served(address)}
    if len(found) > 1:
        raise ConfigurationError(f"Several local stacks run here. Choose one: PORT={' or PORT='.join(found)}")
    return next(iter(found.values()), None)


def _read_stack(path: Path) -> Address | None:
    """The address in a stack's file; None if the file has gone or its address is not on loopback."""
    try:
        values = json.loads(path.read_text())
        if not isinstance(values, dict):
            raise ConfigurationError(f"{path} cannot be read: it holds no JSON object")
        address = _address(str(path), values.get("url"), values.get("api_key"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as reason:
        raise ConfigurationError(f"{path} cannot be read: {reason}") from reason
    return address if address is not None and address.is_loopback else None


def _is_served(address: Address) -> bool:
    """Whether a process listens at an address on loopback. Its answer comes at once; a busy process may let it wait."""
    parts = urlsplit(address.url)
    try:
        socket.create_connection((parts.hostname, parts.port or _PORTS[parts.scheme]), _CONNECT_LIMIT_S).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


def _address(source: str, url: Any, api_key: Any) -> Address | None:
    if not url and not api_key:
        return None
    if not url or not api_key:
        given, missing = ("the key", "the URL") if api_key else ("the URL", "the key")
        gives = "give" if source == _ARGUMENTS else "gives"
        raise ConfigurationError(
            f"{source[0].upper()}{source[1:]} {gives} {given} without {missing}. Both come from one source"
        )
    if not isinstance(url, str) or not isinstance(api_key, str):
        raise ConfigurationError(f"The URL and the key from {source} are strings")
    if not api_key.isascii() or not api_key.isprintable() or api_key != api_key.strip():
        raise ConfigurationError(f"The key from {source} holds more than printable ASCII, or a space at an end")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or not url.isascii():
        # The value is not shown: whoever mixes up URL and key would print the key.
        raise ConfigurationError(
            f"The URL from {source} is no address of an API, such as https://host/live: http or https, a host, no query"
        )
    return Address(url.rstrip("/"), api_key, _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def profiles_path(environ: Mapping[str, str]) -> Path:
    """The file of profiles, which need not exist."""
    folder = environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "gyoza/profiles.toml"
