"""Which PyG layers have a fast form."""

from __future__ import annotations

from gnnlib.accel.attention import ATTENTION
from gnnlib.accel.dropout import Drop
from gnnlib.accel.edges import EDGES
from gnnlib.accel.neighbours import NEIGHBOURS
from gnnlib.accel.propagation import PROPAGATION
from gnnlib.accel.readouts import READOUTS
from gnnlib.accel.view import View

VIEWS: dict[type, type[View]] = {
    view.theirs: view for view in (*PROPAGATION, *NEIGHBOURS, *ATTENTION, *EDGES, *READOUTS)
}

#: Layers of torch itself that change on request alone.
ON_REQUEST: dict[type, type[View]] = {Drop.theirs: Drop}
