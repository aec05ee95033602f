"""Keys of an installation: operators' API keys, and the keys of the vault."""

from datetime import datetime

from deploy.faults import StartFault
from deploy.home import Home, write_private
from deploy.settings import Settings
from schema import ids
from schema.api_key import ALL_SCOPES, ApiKey, KeyKind, hash_of, mint
from schema.store import api_key as store
from schema.store import environment as environments
from schema.store.link import Link
from signer.vault import generate_keyring_text

_HINT_CHARACTERS = 4


async def create_key(
    link: Link, *, name: str, environment_id: str | None, now: datetime
) -> tuple[ApiKey, str]:
    """Make an operator's key; gives it and its text, which is stored nowhere.

    Args:
        link: A connection.
        name: What it is for.
        environment_id: Where alone it acts; None for everywhere.
        now: The time.

    Raises:
        StartFault: There is no such environment.
    """
    if environment_id is None:
        environment = await environments.find_default(link)
    else:
        environment = await environments.find(link, environment_id)
    if environment is None:
        raise StartFault(
            f"there is no environment {environment_id or 'yet: run `hookline migrate`'}"
        )
    text = mint()
    key = ApiKey(
        id=ids.new_id(ids.API_KEY, now),
        environment_id=environment.id,
        app_id=None,
        kind=KeyKind.OPERATOR,
        name=name,
        hint=text[-_HINT_CHARACTERS:],
        scopes=(ALL_SCOPES,) if environment_id is None else (),
        session_id=None,
        created_at=now,
        expires_at=None,
        revoked_at=None,
        last_used_at=None,
    )
    await store.create(link, key, hash_of(text))
    return key, text


async def keep_operator_key(link: Link, home: Home, *, now: datetime) -> None:
    """See to it that the home holds an operator's key that counts."""
    if home.operator_key.exists():
        key = await store.find(link, hash_of(home.operator_key.read_text().strip()))
        if key is not None and key.revoked_at is None:
            return
    _, text = await create_key(link, name="hookline up", environment_id=None, now=now)
    write_private(home.operator_key, f"{text}\n")


def keep_vault_keys(settings: Settings, home: Home) -> None:
    """See to it that there are keys to seal secrets with; they are made for a new home only.

    Raises:
        StartFault: A home that was in use lost its keys: new ones would not open what was sealed.
    """
    if settings.vault_keys is not None or home.vault_keys.exists():
        return
    if home.postgres.exists() or home.operator_key.exists():
        raise StartFault(
            f"{home.vault_keys} is missing: restore it, or set HOOKLINE_VAULT_KEYS;"
            " the secrets in the database open with its keys alone"
        )
    write_private(home.vault_keys, generate_keyring_text())
