"""Another root CA for the whole family, and the way back.

What carries a root CA hangs together: the files in the certificates' folder, the authority that we may
hold, and every image. Such a set is a :class:`Generation`. The next one is made aside, its images
on the shelf alone, so nearly all of the time nothing has changed. Then the :class:`Ledger` switches: it
notes the target first, and whatever breaks the switch off goes back or, after ``kill -9``, is finished by
the next command. The generation before stays, keys and archives, for one rollback.

Cost: a whole build of the family, a second copy of two private keys (0600, in the authority's folder),
and the old images' own layers in the store.
"""

from esb_builder.rotation.evidence import carriers, drop_untagged, moved
from esb_builder.rotation.generation import Generation, install
from esb_builder.rotation.ledger import Ledger

__all__ = ["Generation", "Ledger", "carriers", "drop_untagged", "install", "moved"]
