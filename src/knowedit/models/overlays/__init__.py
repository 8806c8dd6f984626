"""Changes that lie over a model's weights and can be removed in any order, bit for bit, by any number of threads."""

from knowedit.models.overlays.held import Held
from knowedit.models.overlays.pile import Change, Overlay, change_overlays, overlays_on, own_tensor, rounded

__all__ = ["Change", "Held", "Overlay", "change_overlays", "overlays_on", "own_tensor", "rounded"]
