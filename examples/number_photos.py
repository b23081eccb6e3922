"""Write scikit-learn's handwritten digits as image files of two-digit numbers, to try `extract` out on.

`python -m examples.number_photos <folder>` makes there

    photos/07/000.png ...     images of 80 numbers, a folder each; the tens are red, the units blue
    new_photos/31-000.png ... images of the 20 other numbers, of which there is no other image
    classes.csv               of all 100 numbers: which digit the tens are, and which the units
    classes.yaml              the same in words

Rows and classes are those of the built-in data `numbers`: test rows are of other handwriting.
"""

import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from torch import Tensor

from cwgan.data.numbers import IMAGE_SHAPE, load_numbers

SIDE, DIGIT = 80, 32  # pixels
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_photos(folder: Path, images: int, new_images: int) -> None:
    """Write so many images of each of the 80 and of the 20 classes, and both descriptions."""
    numbers = load_numbers()
    names, labels = numbers.class_names, numbers.labels.tolist()
    for rows, count, place in (
        (numbers.trainval, images, "photos/{}/{:03d}.png"),
        (numbers.test_unseen, new_images, "new_photos/{}-{:03d}.png"),
    ):
        made = dict.fromkeys(names, 0)
        for row in rows.tolist():
            name = names[labels[row]]
            if made[name] < count:
                path = folder / place.format(name, made[name])
                path.parent.mkdir(parents=True, exist_ok=True)
                draw(numbers.features[row]).save(path)
                made[name] += 1
    columns = [f"{place}_{digit}" for place in ("tens", "units") for digit in range(10)]
    answers = np.where(numbers.attributes.numpy() > 0, "yes", "no")
    lines = [",".join(["class", *columns])]
    lines += [",".join([name, *row]) for name, row in zip(names, answers, strict=True)]
    (folder / "classes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    texts = {
        name: f"the red digit {WORDS[int(name[0])]}, then the blue digit {WORDS[int(name[1])]}"
        for name in names
    }
    (folder / "classes.yaml").write_text(yaml.safe_dump(texts), encoding="utf-8")


def draw(row: Tensor) -> Image.Image:
    """Return the picture of a row of the data set: tens in red, units in blue, on black."""
    picture = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    top = (SIDE - DIGIT) // 2
    for number, colour in enumerate((0, 2)):
        digit = (255 * row.view(2, *IMAGE_SHAPE)[number].numpy()).round().astype(np.uint8)
        large = Image.fromarray(digit).resize((DIGIT, DIGIT), Image.Resampling.BICUBIC)
        left = SIDE // 2 - DIGIT + number * DIGIT
        picture[top : top + DIGIT, left : left + DIGIT, colour] = np.asarray(large)
    return Image.fromarray(picture)


if __name__ == "__main__":
    write_photos(Path(sys.argv[1]), images=30, new_images=10)
    print(f"wrote photos, new_photos, classes.csv and classes.yaml in {sys.argv[1]}")
