"""A schema as a YAML file: written for people to read, edit and pin (`data.schema`), and read back."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SchemaError, listed

HEADER = """\
# The schema of a table. Pin it with data.schema=<this file>; edit what inference got wrong.
#   kind: numeric, categorical, boolean, timestamp
#   role: feature, target, key, time, group, weight, sensitive, ignored
#   missing_allowed: false stands where the table had no missing value; such rows are quarantined, such requests refused
#   minimum, maximum (numeric), domain (allowed values): rows outside are quarantined
#   missing_marks: texts that mean "no value"; the empty text always does
#   format (timestamps as text), decimal_comma, thousands, unit, accounting (numbers as text): how values are written
#   numeric_categories: 3, 3.0, "3" and "3.0" are one category
#   earliest, latest: of the training split's timestamps, once it is known
#   made_of: the parts and offsets that make a column which the source does not have (data.moments)
"""


def read(path: str | Path) -> Schema:
    """A pinned schema.

    Raises:
        SchemaError: the file is absent, not YAML, or says what a schema cannot say.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SchemaError(
            "data.schema must name a readable YAML file",
            observed=f"{path}: {str(error).splitlines()[0]}",
            remedy="correct the path or the file, or set data.schema=null to infer a schema",
        ) from error
    columns = content.get("columns") if isinstance(content, dict) else None
    if not isinstance(columns, dict) or not columns:
        raise SchemaError(
            "A schema must list its columns under `columns`",
            observed=f"{path} has none",
            remedy="set data.schema=null once to have a schema inferred and written, and start from that",
        )
    schema = Schema.from_dict(content)
    check_single_roles(schema.columns)
    return schema


def write(schema: Schema, path: str | Path) -> None:
    """Write a schema for people to read, edit and pin."""
    text = yaml.safe_dump(schema.to_dict(), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    Path(path).write_text(HEADER + text, encoding="utf-8")


def check_single_roles(columns: Sequence[Column]) -> None:
    """
    Raises:
        SchemaError: two columns have a role that at most one can have.
    """
    for role in (Role.TARGET, Role.KEY, Role.TIME, Role.GROUP, Role.WEIGHT):
        holders = [column.name for column in columns if column.role is role]
        if len(holders) > 1:
            raise SchemaError(
                f"At most one column has the role {role}",
                observed=listed(holders, quoted=True, joint=" and "),
                remedy=f"make data.{role} and the pinned schema agree",
            )
