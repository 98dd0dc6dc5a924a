"""What the logic of both modules does with models and with the volumes of the scene."""

from __future__ import annotations

import slicer

from ..bundles import Bundle, default_bundle_name, find_bundle, list_bundles, remove_bundle
from ..mrml.studies import assign_nodes
from ..mrml.text import _
from .tasks import Job


class ModelTools:
    """Part of a logic; the rest of it offers ``work``."""

    def assign(self, model=None, like=None):
        """The volumes of the scene that look most like the sequences of a model, all of one study.

        Example::

            nodes = logic.assign()
            print({sequence: node.GetName() for sequence, node in nodes.items()})

        Args:
            model: name or folder of a bundle; None takes the default.
            like: a volume of the study that is meant; None takes the study with most sequences.

        Returns:
            {sequence: volume node}.
        """
        found = assign_nodes(slicer.mrmlScene, find_bundle(self.modelFolder(model)).sequences, like=like)
        return {sequence: proposal.node for sequence, proposal in found.items()}

    @staticmethod
    def models() -> dict[str, Bundle]:
        """The models at hand, by name.

        Example::

            print({name: bundle.sequences for name, bundle in logic.models().items()})
        """
        return {bundle.name: bundle for bundle in list_bundles()}

    @staticmethod
    def modelFolder(model: str | None) -> str:
        """Folder of the model to use: the one named, else the only one, else ``brain-mr``. It is looked up here, as
        the panel's models are, since the worker's environment may be that of an earlier start.

        Raises:
            InputError: there is no such model.
        """
        return str(find_bundle(model or default_bundle_name()).path)

    def addModel(self, path, wait=True, onDone=None):
        """Check a model and copy it among your own.

        Example::

            name = logic.addModel(folder_of_model)

        Args:
            path: a zip file, or a bundle's folder.

        Returns:
            its name (with ``wait=False`` the job).

        Raises:
            InputError: it is no valid model, or there is one of that name.
        """
        return self._model("add", path, _("Adding {path}").format(path=path), wait, onDone)

    def verifyModel(self, name, wait=True, onDone=None):
        """Check the weights of a model against its card.

        Example::

            logic.verifyModel("brain-mr")

        Raises:
            InputError: they are damaged.
        """
        return self._model("verify", self.modelFolder(name), _("Checking {path}").format(path=name), wait, onDone)

    def _model(self, action, path, title, wait, onDone):
        request = {"request": "model", "action": action, "path": str(path)}
        done = self.work(Job(request=request, title=title, reads=False), wait, onDone)
        return done["name"] if wait else done

    @staticmethod
    def removeModel(name) -> None:
        """Delete a model that you have added.

        Example::

            logic.removeModel(name)

        Raises:
            InputError: it is one of those that came with Disentangle.
        """
        remove_bundle(name)

    @staticmethod
    def agreeToLicence(name) -> None:
        """Agree to the licence of a model, where it is not a permissive one; that is remembered.

        Example::

            bundle = logic.models()["brain-mr"]
            print(bundle.license["name"])
            if bundle.needs_agreement:
                logic.agreeToLicence("brain-mr")
        """
        bundle = find_bundle(name)
        if bundle.needs_agreement:
            bundle.agree()

    @staticmethod
    def revokeLicence(name) -> None:
        """Take the agreement back.

        Example::

            logic.revokeLicence("brain-mr")
        """
        bundle = find_bundle(name)
        if not bundle.license["permissive"] and not bundle.needs_agreement:
            bundle.revoke()
