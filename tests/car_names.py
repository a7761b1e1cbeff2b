"""Names of pictures that form groups, and what is said of those that form none."""

ALONE = "each picture stands alone: no prefix of the names and no folder makes at least 5 groups of 2 or more"


def cars(count: int, views: int = 3) -> list[str]:
    return [f"train/car{car:02}_{view:02}" for car in range(count) for view in range(views)]
