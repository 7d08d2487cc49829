"""Plain data to components and back: the laws of the round trip, and every message."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from adorym.errors import ConfigError, ConfigErrors, GeometryError
from adorym.registry import component, register
from adorym.schema import ComponentOf, DeclaredBy, FieldInfo, build, describe, dump, type_text
from adorym.units import Angle, Length, Pixels


class Mover(ABC):
    """Stands for an optimizer."""

    @abstractmethod
    def move(self) -> float: ...


@register("test_mover", "adam")
class Adam(Mover):
    """Adaptive moments.

    Args:
        rate: Learning rate.
        betas: Decay of the moments,
            first and second.
    """

    rate: Pixels | float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)

    def move(self) -> float:
        return 1.0


@register("test_mover", "chain")
class Chain(Mover):
    """Several movers, one after the other."""

    of: tuple[Annotated[Mover, ComponentOf("test_mover")], ...]
    named: dict[str, Annotated[Mover, ComponentOf("test_mover")]] = Field(default_factory=dict)

    def move(self) -> float:
        return 2.0


@component
class Settings:
    """How one parameter is refined."""

    refine: bool = True
    start: int = Field(0, ge=0)
    stop: int | None = None
    mover: Annotated[Mover | None, ComponentOf("test_mover")] = None

    def __post_init__(self) -> None:
        if self.stop is not None and self.stop <= self.start:
            raise ConfigError("stop", "ends before it begins", expected=f"> {self.start}", found=self.stop)


@component
class ProbeSettings(Settings):
    """Those of the probe.

    Attributes:
        modes: Number of modes.
    """

    modes: int = Field(1, ge=1)


@dataclass(frozen=True)
class Declared:
    settings: type = Settings


class Model:
    """Stands for a forward model."""

    refinable: ClassVar[dict[str, Declared]] = {}


@register("test_model", "ptychography")
class Ptychography(Model):
    """Far field."""

    propagation: Literal["far_field", "near_field"] = "far_field"
    refinable: ClassVar[dict[str, Declared]] = {"probe": Declared(ProbeSettings), "probe_positions": Declared()}


@register("test_model", "holography")
class Holography(Model):
    """Near field."""

    distance: Length | None = None
    refinable: ClassVar[dict[str, Declared]] = {"distances": Declared()}


def settings_of(model: Any) -> Mapping[str, type]:
    return {name: declared.settings for name, declared in model.refinable.items()}


@component
class Data:
    """Where the data are.

    Attributes:
        path: The file.
        energy_m: Wavelength, which must
            be positive: otherwise nothing propagates.
    """

    path: Path
    energy_m: Annotated[Length, Field(gt=0)] | None = None
    pixel_size: tuple[Length, Length] | None = None
    tilt: Angle = 0.0


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@component
class Run:
    """How long."""

    epochs: int = Field(100, ge=1)
    rate: float = Field(0.5, le=1, description="Given by the field itself.")
    device: Literal["auto", "cpu"] | int = "auto"
    color: Color = Color.RED
    verbose: bool = False
    ranks: list[int] = Field(default_factory=list, max_length=3)
    label: str = "x"
    where: Length | Literal["here"] = "here"

    def __post_init__(self) -> None:
        if self.label == "bad":
            raise ValueError("the label is bad")
        if self.label == "both":
            raise ConfigErrors([ConfigError("label", "first"), GeometryError("", "second")])


@component
class Config:
    """The whole."""

    data: Data
    model: Annotated[Model, ComponentOf("test_model")]
    parameters: Annotated[
        dict[str, Settings], DeclaredBy("model", settings_of, noun="parameter", off={"refine": False})
    ] = Field(default_factory=dict)
    mover: Annotated[Mover, ComponentOf("test_mover")] | None = None
    movers: tuple[Annotated[Mover, ComponentOf("test_mover")], ...] = ()
    run: Run = Field(default_factory=Run)


GOOD: dict[str, Any] = {"data": {"path": "a.h5"}, "model": "ptychography"}


def messages(mapping: Any, cls: type = Config, path: str = "") -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        build(cls, mapping, path)
    return [error.message() for error in caught.value.errors]


def with_(**changes: Any) -> dict[str, Any]:
    return GOOD | changes


class TestBuild:
    def test_defaults(self) -> None:
        assert build(Config, GOOD) == Config(data=Data(path=Path("a.h5")), model=Ptychography())

    def test_whole_tree(self) -> None:
        config = build(
            Config,
            {
                "data": {"path": "a.h5", "energy_m": "0.1 nm", "pixel_size": ["10 nm", "20 nm"], "tilt": "180 deg"},
                "model": {"kind": "holography", "distance": "2 cm"},
                "parameters": {"distances": {"start": 3, "mover": {"kind": "adam", "rate": "0.05 px"}}},
                "mover": {"kind": "chain", "of": ["adam", {"kind": "adam", "betas": [0, 0.5]}], "named": {"a": "adam"}},
                "movers": ["adam"],
                "run": {"epochs": 7, "device": 2, "color": "blue", "ranks": [1, 2]},
            },
        )
        assert config.data.pixel_size == pytest.approx((1e-8, 2e-8))
        assert config.data.energy_m == pytest.approx(1e-10)
        assert config.data.tilt == pytest.approx(np.pi)
        assert config.model == Holography(distance=0.02)
        assert config.parameters == {"distances": Settings(start=3, mover=Adam(rate=0.05))}
        assert config.mover == Chain(of=(Adam(), Adam(betas=(0, 0.5))), named={"a": Adam()})
        assert config.movers == (Adam(),)
        assert config.run == Run(epochs=7, device=2, color=Color.BLUE, ranks=[1, 2])

    @pytest.mark.parametrize(
        ("value", "expected"),
        [({}, ProbeSettings()), (None, ProbeSettings()), (True, ProbeSettings()), (False, ProbeSettings(refine=False))],
    )
    def test_short_forms_of_a_parameter(self, value: Any, expected: Settings) -> None:
        assert build(Config, with_(parameters={"probe": value})).parameters == {"probe": expected}

    def test_empty_sections_are_the_defaults(self) -> None:
        assert build(Config, with_(run=None, parameters=None, mover=None)) == build(Config, GOOD)

    def test_components_made_in_python_are_taken_as_they_are(self) -> None:
        run = Run(epochs=3)
        config = build(Config, with_(run=run, model=Holography(), parameters={"distances": {}}, movers=[Adam()]))
        assert config.run is run
        assert config.movers == (Adam(),)

    def test_default_of_the_sibling_declares_the_entries(self) -> None:
        @component
        class Short:
            model: Annotated[Model, ComponentOf("test_model")] = Field(default_factory=Holography)
            parameters: Annotated[dict[str, Settings], DeclaredBy("model", settings_of)] = Field(default_factory=dict)

        assert build(Short, {"parameters": {"distances": {"start": 1}}}).parameters["distances"].start == 1
        assert messages({"parameters": {"probe": {}}}, Short) == [
            "parameters.probe: unknown entry for model 'holography'; known: distances"
        ]
        assert messages({"parameters": {"distances": False}}, Short) == [
            "parameters.distances: expected a mapping, found false"
        ]

    def test_entries_need_their_sibling(self) -> None:
        @component
        class Optional:
            model: Annotated[Model, ComponentOf("test_model")] | None = None
            parameters: Annotated[dict[str, Settings], DeclaredBy("model", settings_of)] = Field(default_factory=dict)

        assert build(Optional, {"model": "ptychography", "parameters": {"probe": {}}}).model == Ptychography()
        with pytest.raises(ConfigErrors, match="parameters: needs 'model', which says what may stand here"):
            build(Optional, {"parameters": {"probe": {}}})

    def test_errors_can_be_gathered(self) -> None:
        errors: list = [ConfigError("earlier", "wrong")]
        assert build(Run, {"epochs": 0}, "run", errors) is None
        assert [error.where for error in errors] == ["earlier", "run.epochs"]
        assert build(Run, {"epochs": 1}, "run", errors) == Run(epochs=1)
        assert len(errors) == 2


USER_FILE = """
from adorym.registry import register

@register("test_mover", "own")
class Own:
    rate: float = 1.0

class Plain:
    rate: int = 1
"""


class TestUserFile:
    @component
    class Holder:
        one: Annotated[Any, ComponentOf("test_mover")] = None

    def test_class_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text(USER_FILE)
        holder = build(self.Holder, {"one": {"kind": "mine.py:Own", "rate": 3}}, folder=tmp_path)
        assert type(holder.one).__name__ == "Own"
        assert holder.one.rate == 3
        assert dump(holder)["one"] == {"kind": f"{tmp_path / 'mine.py'}:Own", "rate": 3}
        assert build(self.Holder, dump(holder)) == holder
        assert build(type(holder.one), dump(holder.one)) == holder.one

    def test_class_of_a_file_that_is_not_registered(self, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text(USER_FILE)
        holder = build(self.Holder, {"one": {"kind": "mine.py:Plain", "rate": 3}}, folder=tmp_path)
        assert holder.one.rate == 3
        assert dump(holder)["one"] == {"kind": f"{tmp_path / 'mine.py'}:Plain", "rate": 3}

    def test_its_errors_have_a_path(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigErrors, match=r"one.kind: no such file '.*none.py'; expected path/to/file.py:Class"):
            build(self.Holder, {"one": {"kind": "none.py:Own"}}, folder=tmp_path)

    def test_unfinished_class(self, tmp_path: Path) -> None:
        text = "import abc\nclass Half(abc.ABC):\n    @abc.abstractmethod\n    def predict(self): ...\n"
        (tmp_path / "half.py").write_text(text)
        with pytest.raises(ConfigErrors, match=r"^one: class 'Half' is unfinished; write its predict\(\)$"):
            build(self.Holder, {"one": "half.py:Half"}, folder=tmp_path)

    def test_wrong_base(self) -> None:
        @register("test_model", "not_a_model")
        class NotAModel:
            pass

        assert messages(with_(model="not_a_model")) == [
            "model: expected a component of class Model, found " + repr(NotAModel())
        ]


class TestMessages:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"rnu": {}}, "rnu: unknown key; did you mean 'run'?"),
            ({"run": {"epoch": 1}}, "run.epoch: unknown key; did you mean 'epochs'?"),
            ({"run": {"kind": "x"}}, "run.kind: unknown key; known: .*"),
            ({"data": {}}, "data.path: missing; expected a path"),
            ({"data": {"path": 3}}, "data.path: expected a path, found 3"),
            ({"run": {"epochs": "abc"}}, "run.epochs: expected a whole number, found 'abc'"),
            ({"run": {"epochs": 1.5}}, "run.epochs: expected a whole number, found 1.5"),
            ({"run": {"epochs": None}}, "run.epochs: expected a whole number, found nothing"),
            ({"run": {"epochs": True}}, "run.epochs: expected a whole number, found true"),
            ({"run": {"epochs": 0}}, "run.epochs: expected >= 1, found 0"),
            ({"run": {"rate": 2}}, "run.rate: expected <= 1, found 2"),
            ({"run": {"rate": "fast"}}, "run.rate: expected a number, found 'fast'"),
            ({"run": {"verbose": "perhaps"}}, "run.verbose: expected true or false, found 'perhaps'"),
            ({"run": {"label": 3}}, "run.label: expected text, found 3"),
            ({"run": {"ranks": 3}}, "run.ranks: expected a list, found 3"),
            ({"run": {"ranks": [1, "b"]}}, r"run.ranks\[1\]: expected a whole number, found 'b'"),
            ({"run": {"ranks": [1, False]}}, r"run.ranks\[1\]: expected a whole number, found false"),
            ({"run": {"ranks": [1, 2, 3, 4]}}, r"run.ranks: expected at most 3 entries, found \[1, 2, 3, 4\]"),
            ({"run": {"color": "rde"}}, "run.color: expected one of 'red', 'blue', found 'rde'; did you mean 'red'?"),
            (
                {"run": {"device": "cpuu"}},
                "run.device: expected one of 'auto', 'cpu' or a whole number, found 'cpuu'; did you mean 'cpu'?",
            ),
            (
                {"run": {"device": True}},
                "run.device: expected one of 'auto', 'cpu' or a whole number, found true",
            ),
            ({"run": {"where": "3 s"}}, "run.where: expected a quantity in m or 'here', found '3 s'"),
            ({"run": {"where": "3 foo"}}, "run.where: expected a quantity in m or 'here', found '3 foo'"),
            ({"run": {"label": "bad"}}, "run: the label is bad"),
            ({"run": 3}, "run: expected a mapping, found 3"),
            (
                {"model": {"kind": "ptychography", "propagation": "farfield"}},
                "model.propagation: expected one of 'far_field', 'near_field', found 'farfield'; "
                "did you mean 'far_field'?",
            ),
            (
                {"model": {"kind": "ptychography", "propagation": "xyz"}},
                "model.propagation: expected one of 'far_field', 'near_field', found 'xyz'",
            ),
            ({"model": "ptycography"}, "model: no test model named 'ptycography'; did you mean 'ptychography'?"),
            ({"model": {"kind": "x"}}, "model.kind: no test model named 'x'; known: .*holography, .*ptychography"),
            ({"model": {}}, "model.kind: missing; expected one of 'holography', .*'ptychography'"),
            ({"model": {"kind": 3}}, "model.kind: expected a name, found 3"),
            ({"model": 3}, "model: expected a test model by its 'kind', found 3"),
            ({"model": None}, "model: expected a test model by its 'kind', found nothing"),
            (
                {"data": {"path": "a", "tilt": 3}},
                "data.tilt: expected a quantity with a unit, such as '3 rad', found 3",
            ),
            (
                {"data": {"path": "a", "tilt": "3 m"}},
                "data.tilt: wrong unit: expected a quantity in rad, found '3 m'",
            ),
            ({"data": {"path": "a", "energy_m": "-1 nm"}}, "data.energy_m: expected > 0, found '-1 nm'"),
            (
                {"data": {"path": "a", "pixel_size": ["1 nm", "1 s"]}},
                r"data.pixel_size\[1\]: wrong unit: expected a quantity in m, found '1 s'",
            ),
            (
                {"data": {"path": "a", "pixel_size": ["1 nm"]}},
                r"data.pixel_size: expected a list of 2: each a quantity in m or nothing, found \['1 nm'\]",
            ),
            ({"movers": {"kind": "adam"}}, "movers: expected a list, found {'kind': 'adam'}"),
            (
                {"movers": ["adam", {"kind": "adm"}]},
                r"movers\[1\].kind: no test mover named 'adm'; did you mean 'adam'?",
            ),
            ({"movers": [{"kind": "adam", "rat": 1}]}, r"movers\[0\].rat: unknown key; did you mean 'rate'?"),
            ({"mover": "adm"}, "mover: no test mover named 'adm'; did you mean 'adam'?"),
            (
                {"mover": {"kind": "chain", "of": [], "named": {"a": {"kind": "adam", "rate": -1}}}},
                "mover.named.a.rate: expected > 0, found -1",
            ),
            ({"parameters": []}, r"parameters: expected a mapping, found \[\]"),
            (
                {"parameters": {"probe_postions": {}}},
                "parameters.probe_postions: unknown parameter for model 'ptychography'; "
                "did you mean 'probe_positions'?",
            ),
            ({"parameters": {"probe": {"modes": 0}}}, "parameters.probe.modes: expected >= 1, found 0"),
            (
                {"parameters": {"probe_positions": {"xyz": 2}}},
                "parameters.probe_positions.xyz: unknown key; known: mover, refine, start, stop",
            ),
            (
                {"parameters": {"probe": {"start": 5, "stop": 5}}},
                "parameters.probe.stop: ends before it begins; expected > 5; found 5",
            ),
        ],
    )
    def test_one_error(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigErrors, match=f"^{message.replace('?', '[?]')}$") as caught:
            build(Config, with_(**changes))
        assert len(caught.value.errors) == 1

    def test_everything_missing(self) -> None:
        assert messages({}) == [
            "data.path: missing; expected a path",
            "model: missing; expected a test model by its 'kind'",
        ]

    def test_all_errors_at_once(self) -> None:
        found = messages(
            {
                "data": {"path": 1, "tilt": 2, "pth": 3},
                "model": {"kind": "ptychography", "propagation": "x", "y": 1},
                "parameters": {"probe": {"modes": 0, "mover": {"kind": "adam", "rate": 0}}, "xyz": {}},
                "movers": ["adam", "x", {"kind": "chain"}],
                "run": {"epochs": 0, "ranks": [True, 2, False], "z": 1},
                "extra": 1,
            }
        )
        assert sorted(line.split(": ")[0] for line in found) == [
            "data.path",
            "data.pth",
            "data.tilt",
            "extra",
            "model.propagation",
            "model.y",
            "movers[1]",
            "movers[2].of",
            "parameters.probe.modes",
            "parameters.probe.mover.rate",
            "parameters.xyz",
            "run.epochs",
            "run.ranks[0]",
            "run.ranks[2]",
            "run.z",
        ]

    def test_wrong_model_leaves_its_parameters_alone(self) -> None:
        assert len(messages(with_(model="x", parameters={"whatever": {}}))) == 1

    def test_errors_of_a_component_keep_their_class(self) -> None:
        with pytest.raises(ConfigErrors) as caught:
            build(Run, {"label": "both"}, "stages[1].run")
        assert [(type(e), e.message()) for e in caught.value.errors] == [
            (ConfigError, "stages[1].run.label: first"),
            (GeometryError, "stages[1].run: second"),
        ]

    def test_kind_of_a_known_class(self) -> None:
        assert build(Adam, {"kind": "adam"}) == Adam()
        assert messages({"kind": "chain"}, Adam, "a") == ["a.kind: expected 'adam', found 'chain'"]

    def test_long_values_are_cut(self) -> None:
        (line,) = messages({"epochs": "x" * 500}, Run)
        assert len(line) < 120


KEYS = [
    ("data", "path"),
    ("data", "tilt"),
    ("run", "epochs"),
    ("run", "color"),
    ("parameters", "probe"),
    ("run", None),
]


@settings(max_examples=40, deadline=None)
@given(key=st.sampled_from(KEYS), at=st.integers(0, 20), letter=st.sampled_from("qxz_"), swap=st.booleans())
def test_misspelt_key_is_reported_at_its_path(key: tuple[str, str | None], at: int, letter: str, swap: bool) -> None:
    section, name = key
    tree: dict[str, Any] = {
        "data": {"path": "a.h5", "tilt": "1 deg"},
        "model": "ptychography",
        "parameters": {"probe": {}},
        "run": {"epochs": 3, "color": "red"},
    }
    right = name or section
    at %= len(right)
    wrong = right[:at] + letter + right[at + swap :]
    place = tree[section] if name else tree
    place[wrong] = place.pop(right)
    where = f"{section}.{wrong}" if name else wrong
    if wrong == right:
        build(Config, tree)
    else:
        assert any(line.startswith((f"{where}: unknown key", f"{where}: unknown parameter")) for line in messages(tree))


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
adams = st.builds(Adam, rate=positive, betas=st.tuples(finite, finite))
movers = st.one_of(
    adams,
    st.builds(
        Chain, of=st.lists(adams, max_size=2).map(tuple), named=st.dictionaries(st.text(max_size=3), adams, max_size=2)
    ),
)
probe_settings = st.builds(ProbeSettings, refine=st.booleans(), modes=st.integers(1, 9), mover=st.none() | movers)
configs = st.builds(
    Config,
    data=st.builds(
        Data,
        path=st.sampled_from(["a.h5", "/b/c d.h5"]).map(Path),
        energy_m=st.none() | positive,
        pixel_size=st.none() | st.tuples(finite, finite),
        tilt=finite,
    ),
    model=st.builds(Ptychography, propagation=st.sampled_from(["far_field", "near_field"])),
    parameters=st.dictionaries(st.just("probe"), probe_settings),
    mover=st.none() | movers,
    movers=st.lists(movers, max_size=2).map(tuple),
    run=st.builds(
        Run,
        epochs=st.integers(1, 10**9),
        rate=st.floats(max_value=1, allow_nan=False),
        device=st.sampled_from(["auto", "cpu"]) | st.integers(0, 3),
        color=st.sampled_from(Color),
        verbose=st.booleans(),
        ranks=st.lists(st.integers(), max_size=3),
        label=st.text(max_size=4),
        where=st.just("here") | finite,
    ),
)


class TestDump:
    @settings(max_examples=60, deadline=None)
    @given(config=configs)
    def test_round_trip(self, config: Config) -> None:
        assert build(Config, dump(config)) == config

    def test_quantities_carry_their_unit(self) -> None:
        plain = dump(Data(path=Path("a"), energy_m=7e-5, pixel_size=(1e-8, 2e-8), tilt=0.5))
        assert plain == {"path": "a", "energy_m": "7e-05 m", "pixel_size": ["1e-08 m", "2e-08 m"], "tilt": "0.5 rad"}

    def test_chosen_components_carry_their_kind(self) -> None:
        assert dump(Chain(of=(Adam(),))) == {
            "kind": "chain",
            "of": [{"kind": "adam", "rate": "0.001 px", "betas": [0.9, 0.999]}],
            "named": {},
        }

    def test_arrays_are_described_and_other_objects_refused(self) -> None:
        @component
        class Holder:
            inside: dict[str, Any]

        one, same, other = (dump(Holder(inside={"a": [array]})) for array in (np.zeros(2), np.zeros(2), np.ones(2)))
        assert one == same != other
        assert one["inside"]["a"][0].startswith("array of float64 (2,), CRC-32 ")
        with pytest.raises(
            ConfigError, match=r"^here.inside.a\[0\]: cannot be written to a configuration; found object$"
        ):
            dump(Holder(inside={"a": [object()]}), "here")


class TestDescribe:
    def test_rows(self) -> None:
        assert describe(Adam) == [
            FieldInfo("rate", "a quantity in px or a number > 0", "px", "0.001 px", "Learning rate."),
            FieldInfo(
                "betas", "a list of 2: each a number", "", "[0.9, 0.999]", "Decay of the moments, first and second."
            ),
        ]

    def test_quantities_and_required(self) -> None:
        path, energy, pixel, tilt = describe(Data)
        assert path == FieldInfo("path", "a path", "", "required", "The file.")
        assert (energy.type, energy.unit, energy.default) == ("a quantity in m > 0 or nothing", "m", "null")
        assert energy.help == "Wavelength, which must be positive: otherwise nothing propagates."
        assert pixel.type == "a list of 2: each a quantity in m or nothing"
        assert (tilt.type, tilt.default) == ("a quantity in rad", "0.0 rad")

    def test_choices_and_sections(self) -> None:
        rows = {row.name: row for row in describe(Run)} | {row.name: row for row in describe(Config)}
        assert rows["device"].type == "one of 'auto', 'cpu' or a whole number"
        assert rows["color"].default == "red"
        assert rows["verbose"].default == "false"
        assert rows["rate"].help == "Given by the field itself."
        assert rows["run"].type == "a mapping"
        assert rows["run"].default.startswith("{epochs: 100, rate: 0.5, device: auto, color: red, verbose: false")
        assert rows["mover"].type == "a test mover by its 'kind' or nothing"
        assert rows["movers"].type == "a list, each a test mover by its 'kind'"
        assert rows["parameters"].type == "a mapping, each value a mapping"

    def test_help_of_base_classes(self) -> None:
        assert {row.name: row.help for row in describe(ProbeSettings)}["modes"] == "Number of modes."

    def test_bounds(self) -> None:
        assert type_text(Annotated[int, Field(ge=1, lt=5)]) == "a whole number >= 1 and < 5"
        assert type_text(Annotated[int | None, Field(ge=1)]) == "a whole number >= 1 or nothing"
