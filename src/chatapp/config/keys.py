"""Every key that can be set, read off the types of the sections."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import get_args

import msgspec
from msgspec import Struct, inspect

from chatapp.config.settings import Settings
from chatapp.config.values import Rate, Secret

ENV_PREFIX = "CHATAPP_"
_UNITS = {"_bytes": "bytes", "_kib": "KiB", "_ms": "milliseconds", "_s": "seconds"}


class Key(Struct, frozen=True):
    """One setting, as operators know it."""

    section: str
    name: str
    """In the file; differs from ``attribute`` where that would be a word of Python."""
    attribute: str
    type: object
    """The annotated type, for ``convert``."""
    default: object
    description: str
    unit: str
    expected: str
    """What a value must be, as the end of "expected …"."""
    is_secret: bool
    is_text: bool
    """Taken letter by letter: a password of digits stays what it is."""
    is_list: bool
    env_alias: str | None
    """A shorter environment variable, which takes precedence over ``env``."""

    @property
    def dotted(self) -> str:
        """Such as ``general.port``."""
        return f"{self.section}.{self.name}"

    @property
    def env(self) -> str:
        """Such as ``CHATAPP_GENERAL__PORT``."""
        return f"{ENV_PREFIX}{self.section}__{self.name}".upper()

    def convert(self, value: object) -> object:
        """The value in its own type. Raises ``ValueError`` when it is not as ``expected``."""
        return msgspec.convert(value, self.type, strict=False, dec_hook=_parse)


class Section(Struct, frozen=True):
    """The keys of one section, in the order of the file."""

    name: str
    type: type[Struct]
    keys: tuple[Key, ...]


@cache
def sections() -> tuple[Section, ...]:
    """All sections, in the order of the file."""
    return tuple(
        Section(field.name, field.type, _keys_of(field.name, field.type))
        for field in msgspec.structs.fields(Settings)
        if isinstance(field.type, type) and issubclass(field.type, Struct)
    )


@cache
def keys() -> dict[str, Key]:
    """All keys by their dotted name."""
    return {key.dotted: key for section in sections() for key in section.keys}


def _keys_of(section: str, struct: type[Struct]) -> tuple[Key, ...]:
    described = inspect.type_info(struct)
    if not isinstance(described, inspect.StructType):
        raise TypeError(f"{struct} is no Struct")
    types = {field.name: field.type for field in msgspec.structs.fields(struct)}
    return tuple(_key(section, field, types[field.name]) for field in described.fields)


def _key(section: str, field: inspect.Field, annotated: object) -> Key:
    if not isinstance(field.type, inspect.Metadata):
        raise TypeError(f"{section}.{field.name} has no description")
    extra = field.type.extra or {}
    kind = _without_none(field.type.type)
    item = kind.item_type if isinstance(kind, inspect.VarTupleType) else kind
    return Key(
        section=section,
        name=field.encode_name,
        attribute=field.name,
        type=annotated,
        default=field.default,
        description=(field.type.extra_json_schema or {}).get("description", ""),
        unit=extra.get("unit") or next((unit for end, unit in _UNITS.items() if field.name.endswith(end)), ""),
        expected=extra.get("expected") or _expected(kind, annotated),
        is_secret=isinstance(item, inspect.CustomType) and item.cls is Secret,
        is_text=not isinstance(item, inspect.IntType | inspect.FloatType | inspect.BoolType),
        is_list=item is not kind,
        env_alias=extra.get("env"),
    )


def _without_none(kind: inspect.Type) -> inspect.Type:
    if isinstance(kind, inspect.UnionType):
        (kind,) = (part for part in kind.types if not isinstance(part, inspect.NoneType))
    return _without_none(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _expected(kind: inspect.Type, annotated: object) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number from {kind.ge} to {kind.le}"
        case inspect.FloatType():
            return (
                f"a number from {kind.ge:g} to {kind.le:g}"
                if kind.ge is not None
                else f"a number above 0, at most {kind.le:g}"
            )
        case inspect.LiteralType():
            return "one of " + ", ".join(get_args(get_args(annotated)[0]))  # in the order of the type
        case inspect.CustomType():
            return str(getattr(kind.cls, "expected", "a value"))
        case inspect.StrType():
            return "a text"
        case _:
            return "a list"


def _parse(kind: type, value: object) -> object:
    """The hook of msgspec for the types that are ours."""
    parsers: dict[type, Callable[[str], object]] = {Secret: Secret, Rate: Rate.parse}
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 (msgspec reports a ValueError with the rest)
    return parsers[kind](value)
