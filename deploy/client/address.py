"""Where a command finds the API, and with which key: flags, then the environment, then the home.

The home's `operator.key` may do everything, so it is sent to the home's own address only.
"""

import argparse
import os

from deploy.client.api import Address
from deploy.faults import StartFault
from deploy.home import Home, read_env
from deploy.settings import Settings
from deploy.values import Secret


def find_address(settings: Settings, given: argparse.Namespace) -> Address:
    """Say where Hookline is.

    Raises:
        StartFault: Nothing says where, or there is no key for it.
    """
    home = Home.at(settings.home)
    at_home = read_env(home).get("HOOKLINE_URL", "").rstrip("/")
    url = (given.url or os.environ.get("HOOKLINE_URL") or at_home).rstrip("/")
    if not url:
        raise StartFault(
            f"where is Hookline? Give --url or HOOKLINE_URL; {home.env} names no running one"
        )
    key = given.key or os.environ.get("HOOKLINE_KEY") or ""
    if not key and url == at_home:
        key = _operator_key(home)
    if not key:
        raise StartFault(f"there is no key for {url}: give --key or HOOKLINE_KEY")
    if given.environment:
        key = f"{key}|{given.environment}"
    return Address(url=url, key=Secret(key))


def _operator_key(home: Home) -> str:
    try:
        return home.operator_key.read_text().strip()
    except OSError as error:
        raise StartFault(f"cannot read {home.operator_key}: {error.strerror}") from error
