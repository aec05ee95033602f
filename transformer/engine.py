"""Runs JavaScript once, in an engine that is made for it and dropped after it. Child side only.

Every call has a heap, globals and an interpreter of its own, so nothing of one call can be seen by
the next. What takes and gives the values is made before the code is read, and holds what it needs:
code that changes `JSON` or a prototype changes its own result and nothing else. Texts cross as
JSON, and never as what `+` gives: a text that holds a zero character ends there on its way, and one
that is put together of others cannot be read.
"""

import importlib
import json
import re
from time import process_time
from typing import Any, Final

from transformer.call import MOST_FAULT_CHARS, Answer, Broken, Limits, Made

# The package's own front starts a thread when it is imported; this is all that it stands on.
_quickjs: Any = importlib.import_module("_quickjs")

STACK_BYTES: Final = 262_144  # bounds recursion: of functions, and of what JSON holds
LEAST_TIME_S: Final = 0.001
_NOT_JSON: Final = "?"
_FAULT: Final = "!"
_FRAME: Final = re.compile(r"^\s+at (?:(\S+) )?\(?<input>:(\d+)", re.MULTILINE)
_OURS: Final = "__transformer"
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")

_PRELUDE: Final = """
(() => {
  const { parse, stringify } = JSON;
  const Syntax = SyntaxError;
  const join = Function.prototype.call.bind(Array.prototype.join);
  return function __transformer(handler, about, payload) {
    const webhook = parse(about);
    try {
      webhook.payload = parse(payload);
    } catch (error) {
      if (error instanceof Syntax) return "?";
      throw error;
    }
    const made = handler(webhook);
    if (made === null || typeof made !== "object") return "!handler returned no object";
    if (typeof made.then === "function") return "!handler must not be async";
    const cancel = made.cancel === true;
    const said = made.payload;
    const body = stringify(said === undefined && cancel ? null : said);
    if (body === undefined) return "!what handler returned has no payload";
    const { method, url, headers } = made;
    const told = stringify([method, url, headers, cancel, typeof said === "string"]);
    return join([told, body], "\\n");
  };
})()
"""


class _Limited:
    """An engine with what is left of a call's time."""

    def __init__(self, limits: Limits) -> None:
        self._ends_at = process_time() + limits.time_s
        self._context = _quickjs.Context()
        self._context.set_memory_limit(limits.memory_bytes)
        self._context.set_max_stack_size(STACK_BYTES)

    def evaluate(self, code: str) -> Any:  # noqa: ANN401 a value of the engine's
        """Run code and give what it comes to."""
        self._go_on()
        return self._context.eval(code)

    def call(self, function: Any, *given: Any) -> Any:  # noqa: ANN401 values of the engine's
        """Call a function of the engine's."""
        self._go_on()
        return function(*given)

    def _go_on(self) -> None:
        self._context.set_time_limit(max(self._ends_at - process_time(), LEAST_TIME_S))


def run(code: str, webhook: str, payload: bytes | None, limits: Limits) -> Answer:
    """Run code once. Never raises for what the code does, but may be killed for it."""
    try:
        return _run(code, webhook, payload, limits)
    except _quickjs.JSException as error:
        return _broken(str(error), limits)
    except MemoryError:
        return _out_of_memory(limits)
    except Exception:  # noqa: BLE001 whatever code makes of itself, it is not to end the process
        return Broken(text="what handler returned cannot be read")


def _run(code: str, webhook: str, payload: bytes | None, limits: Limits) -> Answer:
    if "\0" in code:
        return Broken(text="the code holds a zero character")
    engine = _Limited(limits)
    transform = engine.evaluate(_PRELUDE)
    engine.evaluate(code)
    handler = engine.evaluate("typeof handler === 'function' ? handler : null")
    if handler is None:
        return Broken(text="the code defines no function `handler`")
    if payload is None:
        return Made()
    text = payload.decode(errors="replace")
    said = _NOT_JSON if "\0" in text else engine.call(transform, handler, webhook, text)
    if said == _NOT_JSON:
        said = engine.call(transform, handler, webhook, json.dumps(text))
    if said.startswith(_FAULT):
        return Broken(text=said[1:])
    return _made(said, limits)


def _made(said: str, limits: Limits) -> Answer:
    """Read what came back: five values and the payload, each as JSON."""
    told, _, body = said.partition("\n")
    method, url, headers, cancel, is_text = json.loads(told)
    payload = (json.loads(body) if is_text else body).encode(errors="replace")
    if len(payload) > limits.result_bytes:
        most = limits.result_bytes
        return Broken(text=f"the payload that handler returned is larger than {most} bytes")
    for name, value in (("method", method), ("url", url)):
        if not isinstance(value, str | None):
            return Broken(text=f"the {name} that handler returned is no text")
    if not _are_headers(headers):
        return Broken(text="the headers that handler returned are no object of texts")
    return Made(method=method, url=url, headers=headers, payload=payload, cancel=cancel is True)


def _are_headers(given: object) -> bool:
    if given is None:
        return True
    return isinstance(given, dict) and all(isinstance(value, str) for value in given.values())


def _broken(said: str, limits: Limits) -> Broken:
    """Make one line of what the engine says of an error and its stack."""
    text, _, stack = said.partition("\n")
    if text.startswith("InternalError: interrupted"):
        return took_too_long(limits)
    if text.startswith("InternalError: out of memory") or text == "null":
        return _out_of_memory(limits)
    text = _CONTROLS.sub(" ", text)[:MOST_FAULT_CHARS]
    return Broken(text=text or "the code failed without a word", line=_line(stack))


def _line(stack: str) -> int | None:
    """Find the line of the customer's code that is nearest to the error."""
    for name, line in _FRAME.findall(stack):
        if name != _OURS:
            return int(line)
    return None


def took_too_long(limits: Limits) -> Broken:
    """Say that code took more time than it may."""
    return Broken(text=f"the code took longer than {round(limits.time_s * 1000)} ms")


def _out_of_memory(limits: Limits) -> Broken:
    return Broken(text=f"the code needs more memory than {limits.memory_bytes >> 20} MiB")
