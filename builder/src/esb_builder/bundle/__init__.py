"""One file that carries all of ESB to a machine without network.

It holds what :file:`esb.lock` names, the images with their signatures, the wheels of every environment,
the container engine's and the host tools' packages. It is a plain tar of files named by their SHA-256,
behind one signed list that says what each is for. Who loads it brings the fingerprint of the
signer and the checkout; nothing in the file vouches for itself.

Loading verifies the list first, then every file into the store, where a name is a hash, so a load that
was broken off goes on where it ended. Only when all of it is there, wheels, packages, signatures, stamps
and root CA are put in place, each in one step. Not compressed: wheels and packages are already, and images'
layers would be unpacked again at once. About 700 MB, and 10 s to load.
"""

from esb_builder.bundle.contents import Contents
from esb_builder.bundle.packing import Ingredients, create
from esb_builder.bundle.unpacking import Loaded, load

__all__ = ["Contents", "Ingredients", "Loaded", "create", "load"]
