"""Plain values as JSON beside tensors, and back: no other types, and no code.

JSON has no tuples, no keys but strings, no infinity and no arrays. In their place stands an object with one key, which
says what it is: {"tuple": [...]}, {"dict": [[key, value], ...]}, {"float": "inf"}, {"tensor": name} for an array of
numbers, {"text": [...], "width": 7} for one of strings (of so many characters each), {"objects": [...]} for an array of
objects that are strings.
"""

import json
import math
from typing import Any

import numpy as np

DTYPES = (  # of tensors
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32"),
    "float64",
)
MOST_PADDING = 1_000_000  # characters of an array of strings beyond those of the longest: they are not in the file
NOT_FINITE = ("nan", "inf", "-inf")


def encode(value: Any, name: str, tensors: dict[str, np.ndarray]) -> Any:
    """Return a value as what JSON knows; arrays of numbers are put into `tensors`.

    Parameters
    ----------
    value : Any
        None, a bool, number, string or array, or a list, tuple or dict of these. Scalars of NumPy become Python's.
    name : str
        What it is called, in errors and as a tensor.
    tensors : dict of str to ndarray
        Gets the arrays.

    Returns
    -------
    None, bool, int, float, str, list or dict

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, str):  # those of a subclass too, such as an enumeration's
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, np.ndarray):
        return _encode_array(value, name, tensors)
    if isinstance(value, list):
        return _encode_items(value, name, tensors)
    if type(value) is tuple:
        return {"tuple": _encode_items(value, name, tensors)}
    if isinstance(value, dict):
        named = all(isinstance(key, str) for key in value)
        names = [f"{name}.{key if named else place}" for place, key in enumerate(value)]
        items = zip(names, value.items(), strict=True)
        return {"dict": [[encode(key, own, tensors), encode(one, own, tensors)] for own, (key, one) in items]}
    raise TypeError(
        f"{name} is {value!r}, but only numbers, strings, arrays, and lists or dicts of these can be written."
    )


def _encode_items(values: Any, name: str, tensors: dict[str, np.ndarray]) -> list:
    return [encode(one, f"{name}.{place}", tensors) for place, one in enumerate(values)]


def _encode_array(array: np.ndarray, name: str, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    if array.dtype.name in DTYPES:
        tensors[name] = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
        return {"tensor": name}
    if array.ndim == 1 and array.dtype.kind == "U":
        return {"text": array.tolist(), "width": _width(array.dtype)}
    if array.ndim == 1 and array.dtype == object and all(isinstance(one, str) for one in array):
        return {"objects": list(map(str, array))}
    raise TypeError(f"{name} is an array of {array.dtype}, which cannot be written: take numbers or strings.")


def _width(dtype: np.dtype) -> int:
    return dtype.itemsize // np.dtype("U1").itemsize


def decode(value: Any, tensors: dict[str, np.ndarray]) -> Any:
    """Return what `encode` was given; the arrays are taken out of `tensors`.

    Raises
    ------
    ValueError
        If it is not of that kind.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [decode(one, tensors) for one in value]
    match value:
        case {"tuple": [*items], **others} if not others:
            return tuple(decode(one, tensors) for one in items)
        case {"dict": [*items], **others} if not others:
            return _decode_dict(items, tensors)
        case {"float": str(text), **others} if not others and text in NOT_FINITE:
            return float(text)
        case {"tensor": str(name), **others} if not others and name in tensors:
            return tensors.pop(name)
        case {"text": [*items], "width": int(width), **others} if not others and _are_text(items):
            longest = max(map(len, items), default=0)
            if longest <= width and len(items) * (width - longest) <= MOST_PADDING:
                return np.array(items, f"<U{width}" if width else "U")
        case {"objects": [*items], **others} if not others and _are_text(items):
            return np.array([*items, None], object)[:-1]
    raise ValueError(f"{json.dumps(value)[:200]} is no value that is known, or its tensor is missing.")


def _are_text(items: list) -> bool:
    return all(isinstance(one, str) for one in items)


def _decode_dict(items: list, tensors: dict[str, np.ndarray]) -> dict:
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in items):
        raise ValueError("A dict is a list of pairs.")
    pairs = [(decode(key, tensors), decode(one, tensors)) for key, one in items]
    if not all(isinstance(key, bool | int | float | str | None) for key, _ in pairs):
        raise ValueError("The keys of a dict are numbers or strings.")
    return dict(pairs)


def dumps(value: Any) -> str:
    """Return what `encode` returned as text that every reader of JSON takes."""
    return json.dumps(value, allow_nan=False)


def loads(text: str) -> Any:
    """Return the value of a text.

    Raises
    ------
    ValueError
        If it is no JSON, or nested too deeply.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON.")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("The JSON is nested too deeply.") from error
