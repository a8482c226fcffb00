"""Shortcut challenge: plant marks that say nothing of the class, and see whether the prediction and the maps follow.

    change  = mean over pictures of  1/2 sum over classes |p(with it) - p(without it)|
    pull(c) = mean over pictures of  p_c(with it) - p_c(without it)

Each picture is asked about without and with each artefact, alike in all else. The prediction decides what is used; maps
are held against it, since they miss what is used and light up on what is not. An artefact is called used where the
lower end of the change's interval is above `smallest`, and the pull is further than signs drawn by lot carry it; not
used where the interval is below `smallest`, and fewer than a quarter of pictures move by more, which takes 11 pictures.
Adebayo et al., 2022. https://arxiv.org/abs/2212.04629
"""

from __future__ import annotations

from typing import ClassVar

from xai_core.errors import SettingError
from xai_core.probes import PROBES, Asking, Found, Probe
from xai_core.records import ProbeKind
from xai_core.registry import param


@PROBES.register
class Shortcut(Probe):
    label = "Shortcut challenge"
    kind: ClassVar[ProbeKind] = "shortcut"
    fewest: ClassVar[int] = 11  # of fewer, no artefact can be called not used

    artefacts: str = param("all", label="Artefacts", help="all, or names with commas, such as marker_l,ruler")
    smallest: float = param(
        5.0, low=0.5, high=50, label="Smallest change", unit="points", help="A smaller change is not called use"
    )
    smallest_map: float = param(
        5.0,
        low=0.5,
        high=50,
        label="Smallest change of a map",
        unit="points",
        help="Share of attribution that must come to lie on an artefact before a map is said to show it",
    )

    def chosen(self) -> list[str]:
        """The names of the artefacts. Raises SettingError for one that does not exist."""
        from xai_core.artefacts import ARTEFACTS

        if self.artefacts.strip() == "all":
            return list(ARTEFACTS)
        names = list(dict.fromkeys(name.strip() for name in self.artefacts.split(",") if name.strip()))
        unknown = [name for name in names if name not in ARTEFACTS]
        if unknown or not names:
            wrong = f"No artefact is called {unknown[0]!r}." if unknown else "No artefact is chosen."
            raise SettingError(f"{wrong} There are {', '.join(ARTEFACTS)}; all stands for every one.")
        return names

    def cost(self, pictures: int, maps: int) -> int:
        return pictures * maps * (1 + len(self.chosen()))

    def find(self, asking: Asking) -> Found:
        from xai_core.challenge import challenge

        return challenge(asking, self)
