"""Mistakes in somebody's own component are told with file and line; plug-ins are loaded by name."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from command_line import Adorym, write_config, write_data

import adorym
from adorym import registry
from adorym.errors import BackendError, ConfigError, DataError, ExtensionError
from adorym.extension import check_returned, is_foreign, user_code
from adorym.losses.counting import LeastSquares
from adorym.registry import lookup

PARAMS = {"object": 1, "probe": 2}
MODEL = """
from adorym.forward.base import ForwardModel


class Mine(ForwardModel):
    photons: float = 1.0

    def predict(self, xp, obj, params, batch):
        wave = xp.fft2(obj[:, None] * params["probe"])
        return {returned}
"""


class Own:
    def predict(self, xp, obj, params, batch):
        raise NotImplementedError

    def wrong_name(self):
        wave = 1
        return wve + wave  # noqa: F821

    def wrong_key(self, params):
        return params["prob"]

    def wrong_function(self, xp):
        return xp.fft3(1)

    def numpy_on_a_tensor(self, array):
        return np.abs(array)

    def end(self):
        sys.exit(3)


def told(call, *arguments):
    with pytest.raises(ExtensionError) as caught, user_code(Own()):
        call(*arguments)
    return str(caught.value)


@pytest.fixture
def adorym_command(capsys):
    return Adorym(capsys)


# -- the message -------------------------------------------------------------------------------------------------------
def test_message_names_class_file_line_and_what_was_meant():
    place = f"test_extension.py:{Own.wrong_name.__code__.co_firstlineno + 2}: "
    assert told(Own().wrong_name).endswith(
        f"{place}Own.wrong_name(): NameError: name 'wve' is not defined; "
        "found 'return wve + wave  # noqa: F821'; did you mean 'wave'?"
    )


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("wrong_key", [PARAMS], ("KeyError: 'prob'", "did you mean 'probe'?")),
        ("wrong_function", [adorym.get_backend("autograd")], ("no attribute 'fft3'", "did you mean 'fft'?")),
        ("end", [], ("it calls 'exit'", "would end the whole program", "take that call out")),
    ],
)
def test_remedy(name, arguments, parts):
    message = told(getattr(Own(), name), *arguments)
    assert all(part in message for part in parts) and "test_extension.py:" in message


def test_numpy_on_arrays_of_the_backend():
    import torch

    message = told(Own().numpy_on_a_tensor, torch.ones(2, requires_grad=True))
    assert "use the functions of 'xp', not those of NumPy" in message


def test_mistake_that_no_line_shows_is_told_with_the_method():
    elsewhere = type("Elsewhere", (Own,), {"__module__": "elsewhere"})()
    where = rf"test_extension.py:{Own.predict.__code__.co_firstlineno}: Elsewhere.predict\(\): TypeError: .*argument"
    with pytest.raises(ExtensionError, match=where), user_code(elsewhere, method="predict"):
        elsewhere.predict(1)


def test_the_packages_own_faults_and_messages_pass():
    with pytest.raises(ZeroDivisionError), user_code(LeastSquares()):
        raise ZeroDivisionError
    with pytest.raises(ConfigError, match=r"^a: b$"), user_code(Own()):
        raise ConfigError("a", "b")
    assert is_foreign(Own) and not is_foreign(LeastSquares())


@pytest.mark.parametrize("backend", ["torch", "autograd"])
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda xp: None, "no array of the backend; expected .*; found NoneType"),
        (lambda xp: xp.zeros((2, 3, 1)), r"of the wrong shape; expected \(2, 3, 4\); found \(2, 3, 1\)"),
        (lambda xp: xp.zeros((2, 3, 4), complex_values=True), "complex numbers; expected real ones; .*xp.abs2"),
        (lambda xp: xp.log(xp.zeros((2, 3, 4))), "not finite; expected finite ones; look for a division by zero"),
    ],
    ids=["nothing", "shape", "complex", "infinite"],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_came_back_is_looked_at(backend, make, match):
    xp = adorym.get_backend(backend, device="cpu")
    where = rf"test_extension.py:\d+: Own.predict\(\) returns .*{match}"
    with pytest.raises(ExtensionError, match=where):
        check_returned(xp, make(xp), (2, 3, 4), Own(), "predict", real=True, finite=True)
    check_returned(xp, xp.zeros((2, 3, 4)), (2, 3, 4), Own(), "predict", real=True, finite=True)
    check_returned(xp, None, (), LeastSquares(), "terms")


def test_numpy_array_is_no_tensor():
    with pytest.raises(ExtensionError, match="found ndarray; use the functions of 'xp'"):
        check_returned(adorym.get_backend("torch", device="cpu"), np.zeros(2), (2,), Own(), "predict")


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("import sys\nsys.exit(0)\n", ("mine.py:2: it calls 'exit'", "found 'sys.exit(0)'")),
        ("a = 1\nb = aa\n", ("mine.py:2: NameError: name 'aa'", "did you mean 'a'?")),
        ("class Mine(\n", ("mine.py:1: SyntaxError: '(' was never closed",)),
        ("import no_such_module_here\n", ("mine.py:1: ModuleNotFoundError", "no_such_module_here")),
    ],
    ids=["exit", "name", "syntax", "import"],
)
def test_file_that_does_not_import(tmp_path, adorym_command, text, parts):
    (tmp_path / "mine.py").write_text(text)
    write_data(tmp_path / "data.h5")
    ended = adorym_command("run", write_config(tmp_path, forward_model={"kind": "mine.py:Mine"}))
    assert ended.status == 2 and all(part in ended.err for part in parts), ended.err


@pytest.mark.parametrize(
    ("returned", "parts"),
    [
        ("xp.sum(xp.abs2(wve), axis=1)", ("mine.py:10: Mine.predict(): NameError", "did you mean 'wave'?")),
        ("xp.sum(xp.abs2(wave), axis=9)", ("mine.py:10: Mine.predict(): ",)),
    ],
)
def test_mistake_in_a_run(tmp_path, adorym_command, returned, parts):
    (tmp_path / "mine.py").write_text(MODEL.format(returned=returned))
    write_data(tmp_path / "data.h5")
    ended = adorym_command("run", write_config(tmp_path, forward_model={"kind": "mine.py:Mine"}))
    assert ended.status == 2 and all(part in ended.err for part in parts), ended.err
    assert "internal error" not in ended.err


def test_mistake_in_the_check_of_a_components_own_fields(tmp_path, adorym_command):
    text = MODEL.format(returned="1") + "\n    def __post_init__(self):\n        1 / (self.photons - 1)\n"
    (tmp_path / "mine.py").write_text(text)
    write_data(tmp_path / "data.h5")
    ended = adorym_command("run", write_config(tmp_path, forward_model={"kind": "mine.py:Mine"}))
    assert ended.status == 2 and "mine.py:13: Mine.__post_init__(): ZeroDivisionError" in ended.err, ended.err


READER = """
from pathlib import Path

import numpy as np
from adorym import Raw, Reader
from adorym.data.dataset import ArrayPatterns


class Text(Reader):
    def recognizes(self, path):
        return path.suffix == ".counts"

    def extract(self, path, overrides):
        counts = np.loadtxt(path, dtype=np.float32).reshape(-1, 4, 5)
        return Raw(patterns=ArrayPatterns(counts), pixel_size_m=(1e-6, 1e-6)) if {fine} else 1 / 0
"""


def test_reader_from_a_file_reads_what_is_no_hdf5(tmp_path):
    (tmp_path / "own.py").write_text(READER.format(fine=True).replace(", pixel_size_m=(1e-6, 1e-6)", ""))
    np.savetxt(tmp_path / "a.counts", np.arange(60).reshape(12, 5))
    dataset = adorym.open_dataset(tmp_path / "a.counts", {"format": f"{tmp_path / 'own.py'}:Text"})
    assert dataset.patterns.shape == (3, 4, 5) and dataset.patterns.read(np.array([1]))[0, 0, 0] == 20


def test_mistake_in_a_reader(tmp_path):
    (tmp_path / "own.py").write_text(READER.format(fine=False))
    np.savetxt(tmp_path / "a.counts", np.arange(60).reshape(12, 5))
    with pytest.raises(ExtensionError, match=r"own.py:15: Text.extract\(\): ZeroDivisionError"):
        adorym.open_dataset(tmp_path / "a.counts", {"format": f"{tmp_path / 'own.py'}:Text"})


def test_reader_must_be_one(tmp_path):
    (tmp_path / "own.py").write_text("class Text:\n    pass\n")
    (tmp_path / "a").write_text("x")
    with pytest.raises(ConfigError, match=r"Text' is no reader; expected a class derived from adorym.Reader"):
        adorym.open_dataset(tmp_path / "a", {"format": f"{tmp_path / 'own.py'}:Text"})


def test_paths_of_reader_and_backend_start_at_the_configurations_folder(tmp_path, monkeypatch):
    write_data(tmp_path / "data.h5")
    path = write_config(tmp_path, data={"format": "own.py:Text"}, run={"backend": "own.py:Numbers"})
    config = adorym.load_config(path)
    assert config.data.format == f"{tmp_path}/own.py:Text" and config.run.backend == f"{tmp_path}/own.py:Numbers"
    assert adorym.load_config(path, ["data.format=cxi"]).data.format == "cxi"


def test_backend_from_a_file(tmp_path):
    text = (
        "from adorym.wrapper.autograd_backend import AutogradBackend\n\n\nclass Numbers(AutogradBackend):\n    pass\n"
    )
    (tmp_path / "own.py").write_text(text)
    assert type(adorym.get_backend(f"{tmp_path / 'own.py'}:Numbers", precision="double")).__name__ == "Numbers"


@pytest.mark.parametrize("group", ["loss", "probe", "phantom", "simulation", "schedule", "projector", "solver"])
def test_every_group_takes_a_class_from_a_file(tmp_path, group):
    (tmp_path / "own.py").write_text("class Own:\n    size: int = 3\n")
    assert lookup(group, f"{tmp_path / 'own.py'}:Own")(size=4).size == 4


# -- plug-ins ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def installed(tmp_path, monkeypatch):
    """``installed(group, name, text)``: a package that brings a component."""

    def install(group, name, text):
        (tmp_path / "their_things.py").write_text(text)
        info = tmp_path / "their_things-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-things\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[adorym.{group}]\n{name} = their_things:Theirs\n")
        monkeypatch.syspath_prepend(tmp_path)
        registry._plugins.cache_clear()

    yield install
    sys.modules.pop("their_things", None)
    for known in registry._components.values():
        for name in [n for n, cls in known.items() if cls.__module__ == "their_things"]:
            del known[name]
    registry._plugins.cache_clear()


PLUGIN = '''
from adorym import Loss


class Theirs(Loss):
    """Their loss."""

    floor: float = 0.1

    def terms(self, xp, predicted, target):
        return xp.square(predicted - target)
'''


def test_plug_in_is_imported_when_it_is_asked_for_and_listed_with_its_package(installed, adorym_command):
    installed("loss", "theirs", PLUGIN)
    assert "theirs" in registry.names("loss") and "their_things" not in sys.modules
    assert lookup("loss", "theirs").kind == "theirs" and registry.distribution("loss", "theirs") == "their-things 1.2"
    assert "theirs (their-things 1.2)" in adorym_command("list", "loss").out
    assert "Their loss. (their-things 1.2)" in adorym_command("list").out


@pytest.mark.parametrize(
    ("text", "found"),
    [("import sys\nsys.exit(1)\n", "it calls 'exit'"), ("1 / 0\n", "ZeroDivisionError"), ("a = 1\n", "no attribute")],
)
def test_broken_plug_in_names_its_package_and_stops_nobody_else(installed, adorym_command, text, found):
    installed("loss", "theirs", text)
    match = rf"'theirs', a plug-in of their-things 1.2, cannot be imported; found .*{found}.*; update or remove"
    with pytest.raises(ExtensionError, match=match):
        lookup("loss", "theirs")
    assert lookup("loss", "poisson").kind == "poisson"
    assert "broken: " in adorym_command("list", "loss").out and "their-things 1.2" in adorym_command("list").out


def test_reader_of_a_plug_in_recognizes_its_files(installed, tmp_path):
    text = READER.format(fine=True).replace("class Text", "class Theirs").replace(", pixel_size_m=(1e-6, 1e-6)", "")
    installed("reader", "counts", text)
    np.savetxt(tmp_path / "a.counts", np.arange(60).reshape(12, 5))
    assert adorym.open_dataset(tmp_path / "a.counts").patterns.shape == (3, 4, 5)


def test_broken_reader_does_not_keep_other_files_from_being_read(installed, tmp_path, caplog):
    installed("reader", "a_broken_one", "1 / 0\n")
    write_data(tmp_path / "data.h5")
    assert adorym.open_dataset(tmp_path / "data.h5").n_patterns == 20
    assert "a reader is left out: " in caplog.text and "their-things 1.2" in caplog.text
    (tmp_path / "b").write_text("x")
    with pytest.raises(DataError, match="unknown kind of file"):
        adorym.open_dataset(tmp_path / "b")


def test_unknown_backend_names_those_of_plug_ins(installed):
    installed("backend", "theirs", "")
    with pytest.raises(BackendError, match=r"^run.backend: no backend named 'their'; did you mean 'theirs'\?$"):
        adorym.get_backend("their")
