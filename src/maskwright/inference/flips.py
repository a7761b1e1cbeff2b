"""Each picture seen as it is and mirrored: two answers, of which the mean is a little better than either."""

import numpy as np
from numpy.typing import NDArray

from maskwright.inference.engines import Engine


class Mirroring:
    """An engine that asks another one twice."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = f"{engine.name}, twice for each picture"

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean of the logits of each picture and of those of its mirror image, mirrored back."""
        mirrored = self._engine.logits(np.ascontiguousarray(batch[..., ::-1]))
        return np.asarray((self._engine.logits(batch) + mirrored[..., ::-1]) / 2, np.float32)
