"""Event types out of an OpenAPI description: what stands in `webhooks` or `x-webhooks`. Pure.

The name of a webhook is the event type's; its description, `deprecated`, `x-svix-group-name`,
`x-svix-feature-flags` and the JSON Schema of the body that it sends are taken from its first
operation. What the schema refers to comes with it, so that it stands alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import yaml

WEBHOOKS: Final = ("webhooks", "x-webhooks")
MOST_NODES: Final = 200_000  # values of a description, with aliases of YAML written out
_DEEPEST: Final = 60
_METHODS: Final = ("post", "put", "patch", "get", "delete", "options", "head", "trace")
_FLAGS: Final = ("x-svix-feature-flags", "x-svix-feature-flag")
_HERE: Final = "definitions"


class SpecFault(ValueError):
    """A description that cannot be read; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook of a description.

    Attributes:
        schema: JSON Schema of its body; None: it has none.
        group_name: As it stands, to be checked.
        feature_flags: As they stand, to be checked.
    """

    name: str
    description: str
    deprecated: bool
    schema: Mapping[str, Any] | None
    group_name: object
    feature_flags: object


def parse(text: str) -> object:
    """Read JSON or YAML.

    Raises:
        SpecFault: It is neither.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return yaml.load(text, Loader=_Plain)  # noqa: S506 a safe loader, without times
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        msg = f"neither JSON nor YAML: {error}"
        raise SpecFault(msg[:300]) from None


def webhooks(spec: object) -> list[Webhook]:
    """List the webhooks of a description.

    Raises:
        SpecFault: There are none, or something of them cannot be understood.
    """
    plain = _Copy().of(spec, 0)
    if not isinstance(plain, dict):
        msg = "an object is expected"
        raise SpecFault(msg)
    named = next((plain[name] for name in WEBHOOKS if isinstance(plain.get(name), dict)), None)
    if named is None:
        msg = "it has no `webhooks` (OpenAPI 3.1) or `x-webhooks`"
        raise SpecFault(msg)
    return [_webhook(plain, name, item) for name, item in named.items()]


def _webhook(spec: Mapping[str, Any], name: str, item: object) -> Webhook:
    path = _followed(spec, item)
    operation = next((path[method] for method in _METHODS if method in path), None)
    if not isinstance(operation, dict):
        msg = f"webhook {name[:100]} has no operation"
        raise SpecFault(msg)
    operation = _followed(spec, operation)
    both = {**path, **operation}
    flags = next((both[name] for name in _FLAGS if name in both), None)
    return Webhook(
        name=name,
        description=str(both.get("description") or both.get("summary") or ""),
        deprecated=both.get("deprecated") is True,
        schema=_schema(spec, operation),
        group_name=both.get("x-svix-group-name"),
        feature_flags=[flags] if isinstance(flags, str) else flags,
    )


def _schema(spec: Mapping[str, Any], operation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the schema of the body, with its examples at its head, and what it refers to."""
    content = _followed(spec, _followed(spec, operation.get("requestBody")).get("content"))
    media = next((value for kind, value in content.items() if "json" in kind), None)
    media = _followed(spec, media)
    found = media.get("schema")
    if not isinstance(found, dict):
        return None
    needed: dict[str, Any] = {}
    schema = dict(_alone(spec, found, needed))
    examples = _examples(spec, media) or _examples_within(spec, found)
    if examples and "examples" not in schema:
        schema["examples"] = examples  # where `send-example` looks, also if all else is a `$ref`
    return {**schema, _HERE: {**schema.get(_HERE, {}), **needed}} if needed else schema


def _examples(spec: Mapping[str, Any], media: Mapping[str, Any]) -> list[Any]:
    if "example" in media:
        return [media["example"]]
    named = _followed(spec, media.get("examples"))
    shown = (_followed(spec, example) for example in named.values())
    return [example["value"] for example in shown if "value" in example]


def _examples_within(spec: Mapping[str, Any], value: Mapping[str, Any]) -> list[Any]:
    try:
        schema = _followed(spec, value)
    except SpecFault:  # it refers to what is not in the description, or to itself
        return []
    listed = schema.get("examples")
    if isinstance(listed, list):
        return listed
    return [schema["example"]] if "example" in schema else []


def _alone(spec: Mapping[str, Any], value: Any, needed: dict[str, Any]) -> Any:  # noqa: ANN401
    """Copy a schema; what it refers to is put into `needed`, and referred to there."""
    if isinstance(value, list):
        return [_alone(spec, item, needed) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {name: _alone(spec, item, needed) for name, item in value.items()}
    ref = copy.get("$ref")
    if isinstance(ref, str) and ref.startswith("#/"):
        name = ref[2:].removeprefix("components/schemas/").replace("/", ".")
        if name not in needed:
            needed[name] = {}  # so that what refers to itself comes to an end
            needed[name] = _alone(spec, _named(spec, ref), needed)
        written = name.replace("~", "~0")
        copy["$ref"] = f"#/{_HERE}/{written}"
    return _nullable(copy)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Write OpenAPI 3.0's `nullable` as JSON Schema does."""
    if schema.get("nullable") is not True or not isinstance(schema.get("type"), str):
        return schema
    schema = {name: value for name, value in schema.items() if name != "nullable"}
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    return schema | {"type": [schema["type"], "null"]}


def _followed(spec: Mapping[str, Any], value: object) -> Mapping[str, Any]:
    """Give an object, or the one that it refers to; what is none is an empty one."""
    for _ in range(_DEEPEST):
        if not isinstance(value, dict):
            return {}
        ref = value.get("$ref")
        if not isinstance(ref, str):
            return value
        value = _named(spec, ref)
    msg = "references lead in a circle"
    raise SpecFault(msg)


def _named(spec: Mapping[str, Any], ref: str) -> object:
    target: Any = spec
    if not ref.startswith("#/"):
        msg = f"{ref[:100]} is not fetched: send a description that stands alone"
        raise SpecFault(msg)
    for part in ref[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or name not in target:
            msg = f"there is no {ref[:100]}"
            raise SpecFault(msg)
        target = target[name]
    return target


class _Plain(yaml.CSafeLoader):
    """Reads YAML as JSON has it: times stay texts."""


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class _Copy:
    """Copies a description as plain JSON, and counts: aliases of YAML may be few and mean much."""

    def __init__(self) -> None:
        self._left = MOST_NODES

    def of(self, value: object, depth: int) -> Any:  # noqa: ANN401 whatever it is
        self._left -= 1
        if self._left < 0:
            msg = f"it has more than {MOST_NODES} values"
            raise SpecFault(msg)
        if depth > _DEEPEST:
            msg = f"it nests deeper than {_DEEPEST}"
            raise SpecFault(msg)
        if isinstance(value, dict):
            return {str(name): self.of(item, depth + 1) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item, depth + 1) for item in value]
        if value is None or isinstance(value, str | bool | int | float):
            return value
        msg = f"{type(value).__name__} is nothing that JSON has"
        raise SpecFault(msg)
