"""Whether a loaded version is the one that was asked for, and can take over the requests of another one."""

from collections.abc import Iterator

from tidemill.bundle.manifest import Manifest
from tidemill.data.schema import Role
from tidemill.errors import BundleError, listed


def check_identity(loaded: Manifest, model: str, version: str) -> None:
    """Pass a bundle that lies where its manifest says: answers are recorded under the manifest's name.

    Raises:
        BundleError: it was carried there by hand.
    """
    identity = loaded.identity
    if (identity.model, identity.version) != (model, version):
        raise BundleError(
            "A bundle lies under the model and version that its manifest names",
            observed=f"{identity.model}/{identity.version} in the place of {model}/{version}",
            remedy="add bundles through the registry (`Registry.add`), which gives them their number",
        )


def check(new: Manifest, active: Manifest) -> None:
    """Pass a version that may stand beside the champion, or follow it, without a client noticing.

    Raises:
        BundleError: another objective or other classes; a column that is unknown, of another kind, or must be given
            where the champion does not ask for it. All differences are named.
    """
    differences = [*_answers(new, active), *_columns(new, active)]
    if differences:
        raise BundleError(
            "A version answers every request that the champion answers, and as the champion does",
            observed=f"version {new.identity.version} beside {active.identity.version}: "
            + listed(differences, joint="; "),
            remedy="train with the champion's schema (data.schema), or serve the new one under another model's name",
        )


def _answers(new: Manifest, active: Manifest) -> Iterator[str]:
    ours, theirs = new.identity, active.identity
    if ours.objective is not theirs.objective:
        yield f"objective {ours.objective} instead of {theirs.objective}"
    elif ours.classes != theirs.classes:
        yield f"classes {listed(ours.classes)} instead of {listed(theirs.classes)}"


def _columns(new: Manifest, active: Manifest) -> Iterator[str]:
    ours, theirs = new.schema, active.schema  # each look at a manifest's schema builds it
    known = {column.name for column in ours.columns if column.role is not Role.TARGET}
    for column in theirs.columns:
        if column.role is not Role.TARGET and column.name not in known:
            yield f"column {column.name} is unknown to it"
    given = {column.name: column for column in theirs.inputs}
    for column in ours.inputs:
        asked = given.get(column.name)
        if asked is not None and asked.kind is not column.kind:
            yield f"column {column.name} is {column.kind} instead of {asked.kind}"
        if not column.missing_allowed and (asked is None or asked.missing_allowed):
            yield f"column {column.name} may not be missing"
