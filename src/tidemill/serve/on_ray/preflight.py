"""Before Ray starts: what is wrong with the settings is told here, rather than by a replica that does not start."""

from tidemill.bundle import sessions, signing
from tidemill.bundle.manifest import Manifest
from tidemill.bundle.registry.registry import Registry
from tidemill.ledger import masking
from tidemill.serve.arguments import Arguments
from tidemill.serve.door import key_file
from tidemill.serve.hooks import observing


def check(arguments: Arguments) -> None:
    """Look at everything that settings name and that can be looked at from here.

    Raises:
        RegistryError: there is no such model or version.
        BundleError: a public key is set, and what verifies signatures is not installed.
        SettingsError: a provider, file of keys, public key, observer, or key for digests that cannot be used, or a
            column that the model does not have.
    """
    registry = Registry(arguments.registry)
    version = registry.resolve(arguments.model, arguments.alias)
    sessions.check(arguments.provider)
    if arguments.keys is not None:
        key_file.read(arguments.keys)
    if arguments.public_key is not None:
        signing.check(arguments.public_key)
    for spec, options in arguments.observers.items():
        observing.find(spec, **options)
    if arguments.ledger.path is not None:
        masking.given(arguments.ledger)
        if arguments.public_key is None:  # else nothing of a bundle is parsed before its signature is verified
            columns(arguments, registry.describe(arguments.model, version))


def columns(arguments: Arguments, described: Manifest) -> None:
    """
    Raises:
        SettingsError: `ledger.columns` names a column that the model does not have.
    """
    if arguments.ledger.path is not None:
        masking.check(arguments.ledger, {column.name for column in described.schema.columns})
