"""Configuration files: YAML 1.2, TOML and JSON say the same; overrides; line numbers; every message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adorym.config_file import ConfigFile, at_lines, dump_yaml, line_of, load
from adorym.errors import ConfigError, ConfigErrors, GeometryError


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs")


def read(folder: Path, text: str, name: str = "c.yaml", overrides: list[str] | None = None) -> ConfigFile:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return load(path, overrides or [])


YAML_TEXT = """\
# a comment
data: {path: siemens.h5, energy: 8.8 keV}
model:
  kind: ptychography

parameters:
  probe: &defaults
    rate: 1e-1
  positions:
    <<: *defaults
    start: 10
  tilt: *defaults
regularizers:
  - kind: total_variation
    weight: 1e-3
  - {kind: sparsity,
     weight: 2}
"""
TOML_TEXT = """\
[data]
path = "siemens.h5"
energy = "8.8 keV"
[model]
kind = "ptychography"
[parameters]
probe = {rate = 0.1}
[parameters.positions]
start = 10
rate = 1e-1
[parameters.tilt]
rate = 0.1
[[regularizers]]
kind = "total_variation"
weight = 1e-3
[[regularizers]]
kind = "sparsity"
weight = 2
[regularizers.more]
a = 1
"""
TREE: dict[str, Any] = {
    "data": {"path": "siemens.h5", "energy": "8.8 keV"},
    "model": {"kind": "ptychography"},
    "parameters": {"probe": {"rate": 0.1}, "positions": {"start": 10, "rate": 0.1}, "tilt": {"rate": 0.1}},
    "regularizers": [{"kind": "total_variation", "weight": 1e-3}, {"kind": "sparsity", "weight": 2}],
}


class TestLanguages:
    def test_yaml(self, folder: Path) -> None:
        mapping, lines = read(folder, YAML_TEXT)
        assert mapping == TREE
        assert lines["data"] == lines["data.energy"] == 2
        assert lines["model.kind"] == 4
        assert lines["parameters.positions.start"] == 11
        assert lines["regularizers[0].weight"] == 15
        assert lines["regularizers[1]"] == 16
        assert lines["regularizers[1].weight"] == 17

    def test_toml(self, folder: Path) -> None:
        mapping, lines = read(folder, TOML_TEXT, "c.toml")
        assert mapping["regularizers"][1].pop("more") == {"a": 1}
        assert mapping == TREE
        assert lines["data"] == 1
        assert lines["data.energy"] == 3
        assert lines["parameters.positions"] == 8
        assert lines["regularizers[0].weight"] == 15
        assert lines["regularizers[1].weight"] == 18
        assert lines["regularizers[1].more.a"] == 20

    @pytest.mark.parametrize("indent", [None, 2, "\t"])
    def test_json(self, folder: Path, indent: int | str | None) -> None:
        mapping, lines = read(folder, json.dumps(TREE, indent=indent), "c.json")
        assert mapping == TREE
        assert lines["model.kind"] == (1 if indent is None else 7)

    def test_json_beyond_yaml(self, folder: Path) -> None:
        tree = {"a" * 2000: 1, "face": "\U0001f600"}
        assert read(folder, json.dumps(tree), "c.json") == (tree, {})

    @pytest.mark.parametrize(
        "text", [YAML_TEXT, TOML_TEXT, json.dumps(TREE), '\n# c\nmodel = "x"\n', "\n# c\nmodel: x\n"]
    )
    @pytest.mark.parametrize("name", ["config", "config.txt"])
    def test_content_decides_without_extension(self, folder: Path, text: str, name: str) -> None:
        assert read(folder, text, name).mapping["model"] in ({"kind": "ptychography"}, "x")

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-6", 1e-6),
            ("1E3", 1e3),
            ("-.5", -0.5),
            ("0x10", 16),
            ("0o17", 15),
            ("010", 10),
            ("no", "no"),
            ("on", "on"),
            ("true", True),
            ("&x true", True),
            ("null", None),
            ("~", None),
            ("", None),
            ("12:30:45", "12:30:45"),
            ("2020-01-01", "2020-01-01"),
            (".inf", float("inf")),
            ("10 px", "10 px"),
            ("|\n  two\n  lines", "two\nlines\n"),
            ("'quoted'", "quoted"),
        ],
    )
    def test_values_are_plain(self, folder: Path, text: str, value: Any) -> None:
        found = read(folder, f"a: {text}\n").mapping["a"]
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize("name", ["c.yaml", "c.toml"])
    def test_empty_file(self, folder: Path, name: str) -> None:
        assert read(folder, "", name) == ({}, {})

    def test_byte_order_mark(self, folder: Path) -> None:
        assert read(folder, "\ufeffa: 1\n").mapping == {"a": 1}


class TestMessages:
    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("c.yaml", "a: 1\nb: 2\na: 3\n", r"c.yaml:3: key 'a' is there twice; keep one of them$"),
            ("c.yaml", "x:\n  a: 1\n  b: 2\n  a: 3\n", r"c.yaml:4: key 'a' is there twice"),
            ("c.json", '{"a": 1,\n "a": 2}', r"c.json:2: key 'a' is there twice"),
            ("c.toml", "a = 1\na = 2\nb = 3\n", r"c.toml:\d: not valid TOML; found Cannot overwrite a value$"),
            ("c.yaml", "a: [1\nb: 2", r"c.yaml:2: not valid YAML; found while parsing a flow sequence, expected ','"),
            ("c.yaml", "a:\n\tb: 1\n", r"c.yaml:2: not valid YAML; found .*'\\t' that cannot start any token"),
            ("c.yaml", "a: b: c", r"c.yaml:1: not valid YAML; found mapping values are not allowed here"),
            ("c.yaml", "a: 1\n---\nb: 2\n", r"c.yaml:2: not valid YAML; found expected a single document"),
            ("c.yaml", "a: \x00", r"c.yaml: not valid YAML; found unacceptable character"),
            ("c.yaml", "b: 1\na: !python/object 3\n", r"c.yaml:2: a: expected plain data, found '3' with a YAML tag"),
            ("c.json", '{"a": 1,\n "b"}', r"c.json:2: not valid JSON; found Expecting ':' delimiter"),
            ("c.toml", "a = 1\nb = \n", r"c.toml:2: not valid TOML; found Invalid value"),
            ("c.yaml", "- 1\n", r"c.yaml: expected a mapping of sections such as 'data' and 'forward_model'$"),
            ("c.yaml", "text", r"c.yaml: expected a mapping of sections"),
            ("c.json", "[1]", r"c.json: expected a mapping of sections"),
        ],
    )
    def test_broken_file(self, folder: Path, name: str, text: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            read(folder, text, name)

    def test_no_file(self, folder: Path) -> None:
        with pytest.raises(ConfigError, match=r"none.yaml: cannot read the configuration; found No such file"):
            load(folder / "none.yaml")
        with pytest.raises(ConfigError, match=r"cannot read the configuration; found Is a directory"):
            load(folder)

    def test_no_text(self, folder: Path) -> None:
        (folder / "data.h5").write_bytes(b"\x89HDF\r\n\xff\xfe")
        with pytest.raises(
            ConfigError, match=r"data.h5: cannot read the configuration; found not a text file in UTF-8"
        ):
            load(folder / "data.h5")


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "path", "value"),
        [
            ("model.kind=holography", ("model", "kind"), "holography"),
            ("run.epochs=5", ("run", "epochs"), 5),
            ("run.rate = 1e-3", ("run", "rate"), 1e-3),
            ("run.label=a=b", ("run", "label"), "a=b"),
            ("run.label=", ("run", "label"), None),
            ("run.size=[10 px, 3]", ("run", "size"), ["10 px", 3]),
            ("run.mover={kind: adam}", ("run", "mover"), {"kind": "adam"}),
            ("regularizers[1].weight=7", ("regularizers", 1, "weight"), 7),
            ("regularizers[2].kind=new", ("regularizers", 2, "kind"), "new"),
            ("a.b[0].c.d=true", ("a", "b", 0, "c", "d"), True),
            ("flag.start=3", ("flag", "start"), 3),
        ],
    )
    def test_value_arrives(self, folder: Path, override: str, path: tuple, value: Any) -> None:
        place: Any = read(folder, YAML_TEXT + "flag: true\n", overrides=[override]).mapping
        for step in path:
            place = place[step]
        assert place == value

    def test_rest_stays(self, folder: Path) -> None:
        mapping, lines = read(folder, YAML_TEXT, overrides=["parameters.tilt.rate=3", "parameters.tilt.rate=4"])
        assert mapping["parameters"] == TREE["parameters"] | {"tilt": {"rate": 4}}
        assert lines["parameters.tilt.rate"] == 0
        assert lines["parameters.probe"] == 7

    @pytest.mark.parametrize("choice", ["1:", ":5", "::2", "1:5", "-3:", "2:20:4"])
    def test_choices_of_patterns_are_text(self, folder: Path, choice: str) -> None:
        assert read(folder, YAML_TEXT, overrides=[f"data.frames={choice}"]).mapping["data"]["frames"] == choice

    def test_replaced_section_has_no_lines(self, folder: Path) -> None:
        lines = read(folder, YAML_TEXT, overrides=["regularizers=[]"]).lines
        assert [where for where in lines if where.startswith("regularizers")] == ["regularizers"]

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            (
                "run.epochs",
                r"--set run.epochs: cannot read the assignment; expected key.path=value, such as run.epochs=5",
            ),
            ("=3", r"--set =3: cannot read the assignment"),
            ("a..b=3", r"--set a..b=3: cannot read the assignment"),
            ("a[x]=3", r"--set a\[x\]=3: cannot read the assignment"),
            ("a=[1", r"--set a=\[1:1: not valid YAML"),
            ("data.path.x=1", r"--set data.path.x=1: 'x' has no mapping to stand in; found 'siemens.h5'"),
            ("regularizers.x=1", r"'x' has no mapping to stand in"),
            ("regularizers[3]=1", r"--set regularizers\[3\]=1: there is no list with an entry \[3\]; found 2 entries"),
            ("data[0]=1", r"there is no list with an entry \[0\]; found \{'path'"),
        ],
    )
    def test_refused(self, folder: Path, override: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            read(folder, YAML_TEXT, overrides=[override])


class TestLines:
    LINES = {"run": 3, "run.epochs": 4, "list": 6, "list[0]": 7, "list[0].a": 8, "set": 0}

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (ConfigError("run.epochs", "expected >= 1, found 0"), "run.epochs: expected >= 1, found 0 (line 4)"),
            (ConfigError("run.x", "missing", expected="a path"), "run.x: missing; expected a path (line 3)"),
            (ConfigError("run.x.y[2]", "bad", found=0), "run.x.y[2]: bad; found 0 (line 3)"),
            (ConfigError("list[0].b", "bad", remedy="did you mean 'a'?"), "list[0].b: bad; did you mean 'a'? (line 7)"),
            (ConfigError("list[1].b", "bad"), "list[1].b: bad (line 6)"),
            (ConfigError("set.b", "bad"), "set.b: bad (--set)"),
            (ConfigError("other.b", "bad"), "other.b: bad"),
            (ConfigError("", "bad"), "bad"),
            (GeometryError("run", "bad"), "run: bad (line 3)"),
        ],
    )
    def test_line_follows_the_message(self, error: ConfigError, message: str) -> None:
        placed = at_lines(error, self.LINES)
        assert placed.message() == message
        assert type(placed) is type(error)

    def test_several_errors_come_in_the_order_of_the_file(self) -> None:
        errors = ConfigErrors([ConfigError("list[0]", "b"), ConfigError("other", "x"), ConfigError("run.epochs", "a")])
        placed = at_lines(errors, self.LINES)
        assert isinstance(placed, ConfigErrors)
        assert placed.message() == "other: x\nrun.epochs: a (line 4)\nlist[0]: b (line 7)"

    def test_nearest_line(self) -> None:
        assert line_of("list[0].a.b[3].c", self.LINES) == 8
        assert line_of("runs", self.LINES) is None


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
AWKWARD = [
    "1e-6",
    "012",
    "no",
    "null",
    "~",
    "",
    " ",
    "<<",
    "=",
    "- a",
    "a: b",
    "#",
    "%",
    "2020-01-01",
    "1:2",
    "|",
    "&a",
]
AWKWARD += ["\n", "\t", "'", '"', "\x85", "\u2028", "\ufeff", "\x00", "*a", "!a", "{", "0x1", ".inf", "1_000", "..."]
awkward = st.sampled_from(AWKWARD)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text | awkward
trees = st.dictionaries(
    text | awkward,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text | awkward, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types: 1, 1.0 and true are not the same."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
@example(
    tree={"a": 1e16, "b": 1e-7, "c": -0.0, "d": [[], {}], "e": "x" * 5000, "f": AWKWARD, "µ": dict.fromkeys(AWKWARD, 1)}
)
def test_yaml_round_trip(folder: Path, tree: dict[str, Any]) -> None:
    assert same(read(folder, dump_yaml(tree)).mapping, tree)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_json_round_trip(folder: Path, tree: dict[str, Any]) -> None:
    assert same(read(folder, json.dumps(tree), "c.json").mapping, tree)


names = st.text("abcdefgh_", min_size=1, max_size=6)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.dictionaries(names, st.dictionaries(names, st.integers() | st.lists(st.integers(), max_size=2), max_size=3))
)
def test_line_is_where_the_key_stands(folder: Path, tree: dict[str, Any]) -> None:
    written = dump_yaml(tree)
    lines = read(folder, written).lines
    for section, entries in tree.items():
        for key in entries:
            assert written.splitlines()[lines[f"{section}.{key}"] - 1].strip().startswith(f"{key}:")
