"""All benchmarks: tables on the terminal, numbers in benchmark.json. Run: python -m benchmarks [--quick]"""

import sys
from pathlib import Path

from benchmarks import memory, program, road, scaling, step
from benchmarks.timing import write_json

quick = "--quick" in sys.argv
results = {
    part.__name__.partition(".")[2]: part.main(quick) for part in (step, road, scaling, program, memory)
}
write_json(Path("benchmark.json"), results)
