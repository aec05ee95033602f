"""The public API as a client sees it: Hookline's, or that of a Svix server.

What may be asked twice is asked again after 429, 5xx and no answer, as long as the caller's
patience lasts; `Retry-After` is heeded. Durations are seconds.

    HooklineError
      Refused       the API answered with an error
      Unreached     there is no answer, or it is none of this API
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import orjson
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
)

from deploy.values import Secret
from schema.errors import HooklineError
from schema.json_text import read_json

Query = Mapping[str, str | int | list[str] | None]
MOST_OF_PAGE: Final = 250
_ANSWER_S: Final = 30.0
_LEAST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 20.0
_LATER: Final = frozenset({429, 500, 502, 503, 504})
_TOO_MANY: Final = 429
_INVALID: Final = 422
_MOST_SHOWN: Final = 300
_HINTS: Final = {
    401: "is the key right, and of this installation?",
    403: "this key may not do it; if it is the key of an app, name the app: --app",
}


class Refused(HooklineError):
    """The API answered with an error; its text has a line for each fault."""

    code = "refused"

    def __init__(self, status: int, lines: list[str], retry_after_s: float | None = None) -> None:
        super().__init__("\n".join(lines))
        self.status, self.retry_after_s = status, retry_after_s


class Unreached(HooklineError):
    """There is no answer, or none of this API."""

    code = "unreached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an API is, and what lets one in."""

    url: str
    key: Secret


class Api:
    """One API. Threads may share it."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        patience_s: float,
        waits: bool = False,
        enough: Event | None = None,
    ) -> None:
        """Take a client that knows address and key.

        Args:
            client: The client; whoever made it closes it.
            patience_s: How long something is asked again and again; 0 is once.
            waits: Whether one that does not answer at all is waited for, too.
            enough: Ends the patience once it is set.
        """
        self._client, self._patience_s, self._waits = client, patience_s, waits
        self._enough = enough or Event()

    @classmethod
    @contextmanager
    def at(cls, address: Address, *, patience_s: float) -> Iterator[Self]:
        """Lend the API at an address."""
        headers = {"authorization": f"Bearer {address.key.reveal()}", "user-agent": "hookline"}
        try:
            client = httpx.Client(
                base_url=address.url,
                headers=headers,
                timeout=_ANSWER_S,
                verify=_trusted(address.url),
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise Unreached(f"{address.url} is no address: {error}") from error
        with client:
            yield cls(client, patience_s=patience_s)

    def patient(self, patience_s: float, enough: Event | None = None) -> "Api":
        """Give the same API, for something that has begun and is to go on."""
        return Api(self._client, patience_s=patience_s, waits=True, enough=enough)

    def get(self, path: str, query: Query | None = None) -> Any:  # noqa: ANN401 - JSON
        """Ask for something."""
        return self.call("GET", path, query=query, repeatable=True)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Query | None = None,
        repeatable: bool = False,
    ) -> Any:  # noqa: ANN401 - JSON
        """Send a request and give the answer's JSON; None if it has none.

        Args:
            method: GET, POST, ...
            path: Behind `/api/v1`; see `path_of`.
            body: What becomes JSON.
            query: Parameters; None is left out.
            repeatable: Whether asking twice does no harm, when nobody knows what came of the first.

        Raises:
            Refused: The answer is an error.
            Unreached: There is no answer.
        """
        return self._retrying(repeatable=repeatable)(self._once, method, path, body, query)

    def pages(self, path: str, query: Query | None = None) -> Iterator[list[dict[str, Any]]]:
        """Give all pages of a list; a page may be empty."""
        wanted: dict[str, Any] = {"limit": MOST_OF_PAGE, **(query or {})}
        while True:
            page = self.get(path, wanted)
            yield page["data"]
            if page["done"]:
                return
            wanted["iterator"] = page["iterator"]

    @contextmanager
    def lines(self, path: str, query: Query) -> Iterator[Iterator[str]]:
        """Lend the lines of a streamed answer.

        Raises:
            Refused: The answer is an error.
            Unreached: There is no answer, or it was cut off.
        """
        with (
            _translated(self._client),
            self._client.stream("GET", f"/api/v1{path}", params=_written(query)) as response,
        ):
            if not response.is_success:
                response.read()
                raise _refusal(response)
            yield response.iter_lines()

    def _once(self, method: str, path: str, body: object, query: Query | None) -> Any:  # noqa: ANN401
        headers, content = {}, None
        if body is not None:
            headers, content = {"content-type": "application/json"}, orjson.dumps(body)
        with _translated(self._client):
            response = self._client.request(
                method, f"/api/v1{path}", content=content, headers=headers, params=_written(query)
            )
        if not response.is_success:
            raise _refusal(response)
        if not response.content:
            return None
        try:
            said, _ = read_json(response.content)
        except orjson.JSONDecodeError:
            raise Unreached(f"{self._client.base_url} answers, but not with this API") from None
        return said

    def _retrying(self, *, repeatable: bool) -> Retrying:
        def is_worth_it(error: BaseException) -> bool:
            if isinstance(error, Refused):
                return error.status == _TOO_MANY or (repeatable and error.status in _LATER)
            return repeatable and self._waits and isinstance(error, Unreached)

        return Retrying(
            retry=retry_if_exception(is_worth_it),
            wait=_wait_s,
            stop=stop_after_delay(self._patience_s) | stop_when_event_set(self._enough),
            sleep=sleep_using_event(self._enough),
            reraise=True,
        )


def _trusted(url: str) -> ssl.SSLContext | bool:
    """Say whom to trust; reading the authorities takes a while, and plain HTTP needs none."""
    return True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def path_of(*parts: str) -> str:
    """Put a path together of names and of what others named: `app`, uid, `endpoint`."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _written(query: Query | None) -> dict[str, Any]:
    """Write a query; a list is one parameter with commas, as the API reads it."""
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return {name: ",".join(v) if isinstance(v, list) else v for name, v in given.items()}


def _wait_s(state: RetryCallState) -> float:
    error = None if state.outcome is None else state.outcome.exception()
    asked_s = error.retry_after_s if isinstance(error, Refused) else None
    if asked_s is not None:
        return float(asked_s)
    return float(min(_LEAST_WAIT_S * 2 ** (state.attempt_number - 1), _LONGEST_WAIT_S))


@contextmanager
def _translated(client: httpx.Client) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        what = str(error) or type(error).__name__
        raise Unreached(f"{client.base_url} does not answer: {what}") from error


def _refusal(response: httpx.Response) -> Refused:
    try:
        retry_after_s = max(float(response.headers["retry-after"]), 0.0)
    except (KeyError, ValueError):
        retry_after_s = None
    return Refused(response.status_code, _said(response), retry_after_s)


def _said(response: httpx.Response) -> list[str]:
    """Say in lines what an error's body says, and what to do."""
    status = response.status_code
    try:
        body = orjson.loads(response.content)
        detail, code = body["detail"], body.get("code")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return [f"{response.url.host} answers {status}: {response.text[:_MOST_SHOWN]!r}"]
    if status == _INVALID and isinstance(detail, list):
        return [_fault(one) for one in detail]
    hint = _HINTS.get(status, "")
    return [f"{code} ({status}): {detail}" + (f" - {hint}" if hint else "")]


def _fault(one: Mapping[str, Any]) -> str:
    where = [str(part) for part in one.get("loc", ())]
    name = ".".join(where[1:] or where)
    return f"{name}: {one.get('msg')}"
