"""The schema registry on the carrier: descriptors by hash, signed bindings, and what publishers are held to."""

from bus.catalogue.catalogue import Catalogue, CatalogueState
from bus.catalogue.descriptors import DescriptorStore
from bus.catalogue.registrar import Plan, Registrar
from bus.catalogue.rights import REGISTRAR, registrar_rights
from bus.catalogue.seals import Believed, BindingSigner, BindingVerifier

__all__ = [
    "REGISTRAR",
    "Believed",
    "BindingSigner",
    "BindingVerifier",
    "Catalogue",
    "CatalogueState",
    "DescriptorStore",
    "Plan",
    "Registrar",
    "registrar_rights",
]
