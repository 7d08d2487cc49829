"""Mistakes in somebody's own component, told with the file and the line of the mistake.

A model, a loss or a reader may come from a user's file or from a plug-in. Whoever calls such code does so inside
`user_code`, and looks at what it returned with `check_returned`::

    with user_code(model, method="predict"):
        predicted = model.predict(xp, obj, params, batch)
    check_returned(xp, predicted, batch.shape, model, "predict", real=True)
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType
from typing import Any

import numpy as np

from adorym.errors import AdorymError, ExtensionError, suggestion

# What NumPy, torch and autograd say when a function of NumPy gets an array of the backend.
_NUMPY_SIGNS = ("numpy()", "ArrayBox", "loop of ufunc", "to numpy")
# How Python begins when a function takes other arguments.
_ARGUMENTS = re.compile(r"([\w.]+)\(\) (?:takes|missing|got)")
LOADED: set[str] = set()  # names of the modules that the registry has loaded from users' files and plug-ins


@contextmanager
def user_code(*owners: object, method: str = "") -> Iterator[None]:
    """Turn what goes wrong in somebody's own code into an `ExtensionError` that shows the line.

    What the package's own code raises, and errors that are messages already, pass unchanged. A call of ``sys.exit`` is
    a mistake like any other.

    Args:
        owners: The components whose code may run, their classes, or the name of a module; if none is given, all
            modules that `adorym.registry` has loaded from users' files and plug-ins.
        method: The method of the first owner that is called, for mistakes that no line shows, such as a wrong number
            of arguments.
    """
    try:
        yield
    except (AdorymError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        told = _told(error, owners or tuple(LOADED), method)
        if told is None:
            raise
        raise told from error


def check_returned(
    xp: Any,
    array: Any,
    shape: Sequence[int],
    owner: object,
    method: str = "",
    *,
    real: bool | None = None,
    finite: bool = False,
) -> None:
    """Raise unless ``array``, which ``owner.method`` returned, is one of the backend ``xp`` and has ``shape``.

    Components of this package are not looked at.

    Args:
        xp: The backend; ``None`` for arrays of NumPy.
        owner: A component, or a function, which has no ``method``.
        real: Complex values are a mistake if true, real ones if false.
        finite: Values that are not finite are a mistake; this waits for the device.

    Raises:
        ExtensionError: It is something else.
    """
    if not is_foreign(owner):
        return
    what: str
    expected: object
    found: Any = getattr(array, "shape", None)
    remedy: str | None = None
    of_numpy = xp is None or isinstance(xp.zeros((1,)), np.ndarray)
    if found is None or (isinstance(array, np.ndarray) and not of_numpy):
        kind = "of NumPy" if xp is None else "of the backend"
        what, expected, found = f"no array {kind}", f"an array {kind}", type(array).__name__
        remedy = None if xp is None else "use the functions of 'xp', and return what they give"
    elif tuple(found) != tuple(shape):
        what, expected, found = "an array of the wrong shape", tuple(shape), tuple(found)
    elif real is not None and (np.iscomplexobj(array) if xp is None else xp.is_complex(array)) is real:
        what, expected = ("complex numbers", "real ones") if real else ("real numbers", "complex ones")
        found = None
        remedy = "of a wave 'xp.abs2' is the intensity" if real else None
    elif finite and not (np.isfinite(array) if xp is None else xp.to_numpy(xp.isfinite(array))).all():
        what, expected, found = "numbers that are not finite", "finite ones", None
        remedy = "look for a division by zero, or the root or logarithm of it"
    else:
        return
    refuse(owner, method, what, expected, found, remedy)


def check_kind(returned: object, kind: type, owner: object, method: str) -> None:
    """Raise unless ``owner.method`` has returned a ``kind``.

    Raises:
        ExtensionError: It has returned something else.
    """
    if is_foreign(owner) and not isinstance(returned, kind):
        refuse(owner, method, f"no {kind.__name__}", kind.__name__, type(returned).__name__)


def refuse(
    owner: object, method: str, what: str, expected: object = None, found: object = None, remedy: str | None = None
) -> None:
    """Say that ``owner.method`` returns ``what``, where it is written.

    Raises:
        ExtensionError: That.
    """
    code = _written(owner, method)
    where = _name(owner) if code is None else f"{shown_path(code.co_filename)}:{code.co_firstlineno}"
    called = f"{_name(owner)}.{method}" if method else _name(owner)
    raise ExtensionError(where, f"{called}() returns {what}", expected=expected, found=found, remedy=remedy)


def is_foreign(owner: object) -> bool:
    """Whether a component, a class, or a module of this name comes from outside this package."""
    return bool(_packages(owner))


def shown_path(path: str) -> str:
    """``path``, from the working directory on if it lies below."""
    return path.removeprefix(os.getcwd() + os.sep)


def _packages(owner: object) -> set[str]:
    """Top-level package of a module, or of a component's class; empty for this package itself."""
    name = owner if isinstance(owner, str) else owner.__module__
    return {name.partition(".")[0]} - {"adorym"}


def _class(owner: object) -> type:
    return owner if isinstance(owner, type) else type(owner)


def _name(owner: object) -> str:
    return str(getattr(owner, "__name__", _class(owner).__name__))


def _told(error: BaseException, owners: Sequence[object], method: str) -> ExtensionError | None:
    packages = {name for owner in owners for name in _packages(owner)}
    steps = traceback.walk_tb(error.__traceback__)
    own = [(f, line) for f, line in steps if str(f.f_globals.get("__name__")).partition(".")[0] in packages]
    code = _written(owners[0], method) if owners else None
    what, text = f"{type(error).__name__}: {error}", ""
    if isinstance(error, SyntaxError) and error.filename and packages:
        file, line, what, text = error.filename, error.lineno, f"SyntaxError: {error.msg}", error.text or ""
    elif own:
        frame, line = own[-1]
        file, what = frame.f_code.co_filename, f"{_called(frame)}{what}"
        text = linecache.getline(file, line)
    elif (called := _miscalled(error, packages)) is not None:
        file, line = called.co_filename, called.co_firstlineno
    elif code is not None:
        file, line, what = code.co_filename, code.co_firstlineno, f"{_name(owners[0])}.{method}(): {what}"
    else:
        return None
    if isinstance(error, SystemExit):
        what = "it calls 'exit', which would end the whole program"
    found = f"'{text.strip()}'" if text.strip() else None
    frames = [frame for frame, _ in own]
    return ExtensionError(f"{shown_path(file)}:{line}", what, found=found, remedy=_remedy(error, frames))


def _called(frame: FrameType) -> str:
    """``Mine.predict(): `` before what happened; nothing for the code of a module itself."""
    name, owner = frame.f_code.co_name, frame.f_locals.get("self")
    if name.startswith("<"):
        return ""
    return f"{name}(): " if owner is None else f"{_name(owner)}.{name}(): "


def _written(owner: object, method: str) -> CodeType | None:
    """Code of a method of ``owner``, or of the function that it is, unless it is this package's own."""
    if isinstance(owner, FunctionType):
        return owner.__code__ if is_foreign(owner) else None
    base = next((b for b in _class(owner).__mro__ if method in vars(b)), None)
    if base is None or not _packages(base.__module__):
        return None
    return getattr(vars(base)[method], "__code__", None)


def _miscalled(error: BaseException, packages: set[str]) -> CodeType | None:
    """The function in one of ``packages`` that was called with other arguments than it takes, as Python names it."""
    told = _ARGUMENTS.match(str(error)) if isinstance(error, TypeError) else None
    for name, module in reversed(list(sys.modules.items())) if told else ():  # the newest: names may come again
        if name.partition(".")[0] in packages:
            holder: Any = module
            for step in told[1].split("."):  # type: ignore[index]
                holder = getattr(holder, step, None)
            if isinstance(holder, FunctionType) and holder.__module__ == name:
                return holder.__code__
    return None


def _remedy(error: BaseException, frames: Sequence[FrameType]) -> str | None:
    """What the exception itself tells: a misspelt name, key or attribute, or NumPy on arrays of the backend."""
    scope = frames[-1].f_locals if frames else {}
    name: Any = getattr(error, "name", None)
    known: list[str] = []
    if isinstance(error, NameError) and frames:
        known = [*scope, *frames[-1].f_globals]
    elif isinstance(error, AttributeError):
        known = [each for each in dir(error.obj) if not each.startswith("_")]
    elif isinstance(error, KeyError) and error.args:
        name = error.args[0]
        holders = [v for v in scope.values() if isinstance(v, Mapping) and name not in v]
        known = [key for holder in holders for key in holder if isinstance(key, str)]
    elif isinstance(error, SystemExit):
        return "take that call out of what runs when the file is imported"
    elif any(sign in str(error) for sign in _NUMPY_SIGNS):
        return "on arrays of the backend use the functions of 'xp', not those of NumPy"
    if not isinstance(name, str) or not known:
        return None
    text = suggestion(name, known)
    return text if isinstance(error, KeyError) or text.startswith("did you mean") else None
