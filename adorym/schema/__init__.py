"""From a mapping to validated components, and back.

A component class is its own schema: `build` fills its fields from plain data (what YAML, TOML or JSON hold), `dump`
writes them back, `describe` lists them for documentation. Fields mark what the type alone does not say::

    optimizer: Annotated[Optimizer, ComponentOf("optimizer")]
    regularizers: tuple[Annotated[Regularizer, ComponentOf("regularizer")], ...] = ()
    parameters: Annotated[dict[str, ParameterSettings], DeclaredBy("forward_model", settings_of, "parameter")]

`build` reports every error of the whole tree at once, each with its dotted path::

    run.epochs: expected >= 1, found 0
    regularizers[0].wieght: unknown key; did you mean 'weight'?
"""

from adorym.schema.build import build
from adorym.schema.describe import FieldInfo, describe
from adorym.schema.dump import dump
from adorym.schema.fields import ComponentOf, DeclaredBy, type_text

__all__ = ["ComponentOf", "DeclaredBy", "FieldInfo", "build", "describe", "dump", "type_text"]
