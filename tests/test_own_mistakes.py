"""A mistake in a component of one's own, of any kind, is found by ``check`` and by ``run``, with the user's line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Adorym
from own_components import FOLDER, overrides, write_all

# Kind, mistake, text of the example and what stands there instead, the line that is named (that text, or a method's
# first line), and a word of the message.
SUM, TERM = "return xp.sum(xp.abs2(wave), axis=1)", "return self.width**2 * xp.log("
VALUE, BOUND = "return self.weight * xp.sum(xp.log(", "return 2 * self.weight / (self.strength**2 + xp.abs2(deviation))"
EMPTY, MOVED = "return xp.concat([", "return value - rate * gradient.values / (xp.sqrt(total) + 1e-20), (total,)"
WAVE, STEP = "return np.exp(1j * phase)", "return Step(new, found,"
RAW, EVENTS = "return Raw(ArrayPatterns(counts), positions_m=positions_m", "return counts.reshape(-1, *self.shape[1:])"
FFT, BLUR = "return super().fftn(a, axes, norm)", "return xp.maximum(blurred, 0.0)"
PREDICT, TERMS, PROJECT = "def predict(", "def terms(", "def project("
MISTAKES = [
    ("forward_model", "shape", SUM, "return xp.sum(xp.abs2(wave), axis=2)", PREDICT, "wrong shape"),
    ("forward_model", "complex", SUM, "return xp.sum(wave, axis=1)", PREDICT, "complex numbers"),
    ("forward_model", "one-for-all", SUM, SUM + "[:1]", PREDICT, "wrong shape"),
    ("forward_model", "not-finite", SUM, SUM + " / 0.0", PREDICT, "numbers that are not finite"),
    ("forward_model", "numpy", SUM, "return np.sum(np.abs(wave) ** 2, axis=1)", "", "use the functions of 'xp'"),
    ("forward_model", "key", 'params["probe"],', 'params["prob"],', "", "did you mean 'probe'?"),
    ("forward_model", "function", "xp.fft2(", "xp.fft3(", "", "did you mean 'fft'?"),
    ("forward_model", "arguments", "obj, params, batch):", "obj, params):", PREDICT, "positional arguments"),
    ("forward_model", "exception", SUM, "return 1 / 0", "", "ZeroDivisionError"),
    ("parameter", "shape", "start=1.0", 'per="pattern", start=lambda b, s, rng: np.ones(3)', "", "wrong shape"),
    ("parameter", "complex", BLUR, "return xp.ifft2(xp.fft2(sharp) * transfer)", PREDICT, "complex numbers"),
    ("parameter", "numpy", "xp.exp(", "np.exp(", "", "use the functions of 'xp'"),
    ("parameter", "key", 'params["blur_px"]', 'params["blur"]', "", "did you mean 'blur_px'?"),
    ("parameter", "function", "xp.maximum(", "xp.maximal(", "", "did you mean 'maximum'?"),
    ("parameter", "arguments", "start=1.0", "start=lambda bound: 1.0", "", "positional argument"),
    ("parameter", "exception", "start=1.0", "start=lambda b, s, rng: 1 / 0", "", "ZeroDivisionError"),
    ("loss", "shape", TERM, "return xp.sum(", TERMS, "wrong shape"),
    ("loss", "complex", TERM, "return 1j * xp.log(", TERMS, "complex numbers"),
    ("loss", "numpy", "xp.log(", "np.log(", "", "use the functions of 'xp'"),
    ("loss", "function", "xp.log(", "xp.logg(", "", "did you mean 'log'?"),
    ("loss", "arguments", "xp, predicted, target):", "xp, predicted):", TERMS, "positional arguments"),
    ("loss", "exception", TERM, "return 1 / 0 * (", "", "ZeroDivisionError"),
    ("regularizer", "shape", VALUE, "return self.weight * ((", "def value(", "wrong shape"),
    ("regularizer", "complex", VALUE, "return 1j * xp.sum(xp.log(", "def value(", "complex numbers"),
    ("regularizer", "numpy", VALUE, "return self.weight * np.sum(np.log(", "", "use the functions of 'xp'"),
    ("regularizer", "function", "xp.abs2(deviation) /", "xp.abs3(deviation) /", "", "did you mean 'abs'?"),
    ("regularizer", "arguments", "value(self, xp, deviation)", "value(self, xp)", "def value(", "positional argument"),
    ("regularizer", "exception", BOUND, "return 1 / 0", "", "ZeroDivisionError"),
    ("constraint", "shape", EMPTY, "return tile[1:]; xp.concat([", PROJECT, "wrong shape"),
    ("constraint", "real", EMPTY, "return xp.abs2(tile) + 0 * xp.abs2(tile); xp.concat([", PROJECT, "real numbers"),
    ("constraint", "numpy", EMPTY, "return np.concatenate([", PROJECT, "no array of the backend"),
    ("constraint", "function", "xp.concat(", "xp.concatenate(", "", "did you mean 'concat'?"),
    ("constraint", "arguments", "project(self, xp, tile)", "project(self, tile)", PROJECT, "positional arguments"),
    ("constraint", "exception", EMPTY, "1 / 0; return xp.concat([", "", "ZeroDivisionError"),
    ("optimizer", "shape", MOVED, "return value[..., :1], (total,)", "def step(", "wrong shape"),
    ("optimizer", "complex", MOVED, "return xp.abs(value), (total,)", "def step(", "numbers"),
    ("optimizer", "numpy", MOVED, "return np.asarray(value), (total,)", "def step(", "no array of the backend"),
    ("optimizer", "kind", "return (xp.zeros(like.shape),)", "return xp.zeros(like.shape)", "def init(", "no tuple"),
    ("optimizer", "function", "xp.sqrt(", "xp.root(", "", "no attribute 'root'"),
    ("optimizer", "arguments", "gradient, state, rate):", "gradient, state):", "def step(", "positional arguments"),
    ("optimizer", "exception", MOVED, "return 1 / 0", "", "ZeroDivisionError"),
    ("solver", "shape", STEP, "return Step(new[:2], found,", "def iterate(", "wrong shape"),
    ("solver", "kind", STEP, "return dict(new=new, found=found, text=", "def iterate(", "no Step"),
    ("solver", "key", 'state["last"]', 'state["lost"]', "", "did you mean 'last'?"),
    ("solver", "function", "objective.evaluate(", "objective.value(", "", "no attribute 'value'"),
    ("solver", "arguments", "objective, u, state):\n", "objective, u):\n", "def iterate(", "positional arguments"),
    ("solver", "exception", "step /= 2", "step /= 0", "", "ZeroDivisionError"),
    ("initializer", "shape", WAVE, "return phase[1:]", "def make(", "wrong shape"),
    ("initializer", "kind", WAVE, "np.exp(1j * phase)", "def make(", "no array"),
    ("initializer", "function", "np.fft.fft2(", "np.fft.fft3(", "", "did you mean 'fft'?"),
    ("initializer", "key", WAVE, 'return dataset.truth["objct"]', "", "KeyError: 'objct'"),
    ("initializer", "arguments", "dataset, shape, rng):", "dataset, shape):", "def make(", "positional arguments"),
    ("initializer", "exception", WAVE, "return phase / 0 + 1 / 0", "", "ZeroDivisionError"),
    ("reader", "shape", RAW, RAW.replace("counts", "counts[0]"), "def extract(", "wrong shape"),
    ("reader", "positions", RAW, RAW.replace("=positions_m", "=positions_m.T"), "def extract(", "wrong shape"),
    ("reader", "complex", RAW, RAW.replace("counts", "1j * counts"), "def extract(", "complex numbers"),
    ("reader", "kind", RAW, "return dict(positions_m=positions_m", "def extract(", "no Raw"),
    ("reader", "function", "np.fromfile(", "np.from_file(", "", "did you mean 'fromfile'?"),
    ("reader", "arguments", "path, overrides):", "path):", "def extract(", "positional arguments"),
    ("reader", "key", RAW, 'return {}["counts"]; Raw(ArrayPatterns(counts), positions_m=positions_m', "", "KeyError"),
    ("reader", "exception", RAW, "1 / 0; " + RAW, "", "ZeroDivisionError"),
    ("data_source", "shape", EVENTS, "return counts", "def read(", "wrong shape"),
    ("data_source", "complex", EVENTS, EVENTS.replace("return", "return 1j *"), "def read(", "complex numbers"),
    ("data_source", "function", "np.bincount(", "np.bincounts(", "", "did you mean 'bincount'?"),
    ("data_source", "arguments", "read(self, index)", "read(self)", "def read(", "positional argument"),
    ("data_source", "exception", EVENTS, "return 1 / 0", "", "ZeroDivisionError"),
    ("backend", "shape", FFT, "return super().fftn(a, axes, norm)[0]", "def fftn(", "wrong shape"),
    ("backend", "real", FFT, "return self.abs(super().fftn(a, axes, norm))", "def fftn(", "real numbers"),
    ("backend", "numbers", FFT, "return 2 * super().fftn(a, axes, norm)", "def fftn(", "other numbers"),
    ("backend", "function", FFT, "return super().fftm(a, axes, norm)", "", "no attribute 'fftm'"),
    ("backend", "arguments", 'fftn(self, a, axes, norm="ortho"):', "fftn(self, a):", "def fftn(", "argument"),
    ("backend", "exception", FFT, "return 1 / 0", "", "ZeroDivisionError"),
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_all(folder)
    return folder


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: f"{case[0]}-{case[1]}")
@pytest.mark.filterwarnings("ignore")
def test_mistake_is_shown_with_its_line(case, data, tmp_path, capsys):
    kind, _, old, new, named, words = case
    text = "import numpy as np\n" + (FOLDER / f"{kind}.py").read_text(encoding="utf-8")
    assert old in text
    text = text.replace(old, new)
    (tmp_path / f"{kind}.py").write_text(text)
    line = next(i for i, each in enumerate(text.splitlines(), 1) if (named or new.strip()) in each)
    chosen = [part for each in overrides(kind, data, tmp_path) for part in ("--set", each)]
    for command in (["check"], ["run", "--output", tmp_path / "out"]):
        ended = Adorym(capsys)(*command, FOLDER / "config.yaml", *chosen)
        assert ended.status == 2 and "internal error" not in ended.err, ended
        assert f"{kind}.py:{line}: " in ended.err and words in ended.err, (line, ended.err)


def test_every_kind_is_here():
    assert {case[0] for case in MISTAKES} == {path.stem for path in Path(FOLDER).glob("*.py")} - {"run"}
