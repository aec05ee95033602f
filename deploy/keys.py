"""Keys of an installation: operators' API keys, tokens like Svix's, and the keys of the vault."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from deploy.connections import connection
from deploy.faults import StartFault
from deploy.home import Home, write_private
from deploy.settings import Settings
from gateway.svix_token import make_token, read_rules
from schema import ids
from schema.api_key import ApiKey, KeyKind, hash_of, issue
from schema.scope import ALL_SCOPES, Scope
from schema.store import api_key as store
from schema.store import environment as environments
from schema.store.link import Link
from signer.vault import generate_keyring_text


async def create_key(
    link: Link,
    *,
    name: str,
    environment_id: str | None,
    now: datetime,
    scopes: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """Make an operator's key; gives it and its text, which is stored nowhere.

    Args:
        link: A connection.
        name: What it is for.
        environment_id: Where alone it acts; None for everywhere, or with scopes for the first.
        now: The time.
        scopes: What alone it may do.

    Raises:
        StartFault: There is no such environment, or no such scope.
    """
    unknown = sorted(set(scopes).difference(Scope))
    if unknown:
        raise StartFault(f"there is no scope {unknown[0]}; there are {', '.join(sorted(Scope))}")
    if environment_id is None:
        environment = await environments.find_default(link)
    else:
        environment = await environments.find(link, environment_id)
    if environment is None:
        raise StartFault(
            f"there is no environment {environment_id or 'yet: run `hookline migrate`'}"
        )
    key, text = issue(
        environment_id=environment.id,
        kind=KeyKind.OPERATOR,
        at=now,
        name=name,
        scopes=tuple(scopes) or ((ALL_SCOPES,) if environment_id is None else ()),
    )
    await store.create(link, key, hash_of(text))
    return key, text


async def create_token(
    settings: Settings,
    *,
    environment_id: str | None,
    app_id: str | None,
    now: datetime,
    lifetime: timedelta,
) -> str:
    """Make a token as Svix does, of an environment's operator or of an app.

    Args:
        settings: Say what it is signed with.
        environment_id: Whose, be there one or not; None for the default one.
        app_id: Where alone it acts; None for all of the environment.
        now: The time.
        lifetime: How long it counts.

    Raises:
        StartFault: It cannot be made.
    """
    secret = settings.jwt_secret
    if secret is None:
        raise StartFault("no tokens count here: set HOOKLINE_JWT_SECRET")
    for ident, prefix in ((environment_id, ids.ENVIRONMENT), (app_id, ids.APP)):
        if ident is not None and not ids.is_id(prefix, ident):
            raise StartFault(f"{ident} is no id: {prefix} and {ids.LENGTH} letters and digits")
    if environment_id is None:
        environment_id = await _default_environment(settings)
    try:
        return make_token(
            read_rules(settings.jwt_algorithm, secret.reveal()),
            environment_id=environment_id,
            app_id=app_id,
            now=now,
            lifetime=lifetime,
        )
    except ValueError as error:
        raise StartFault(f"HOOKLINE_JWT_SECRET must be {error}") from None


async def _default_environment(settings: Settings) -> str:
    async with connection(settings) as link:
        found = await environments.find_default(link)
    if found is None:
        raise StartFault("there is no environment yet: run `hookline migrate`")
    return found.id


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
