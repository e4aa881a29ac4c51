"""Does synthesis help a segmenter? The downstream experiment of the lesion app, into docs/measured.

Resumable: cells in results/downstream are not run again, and those of another plan or source are refused. How long it
takes is measured with it (cpu_minutes_all; of the arms alone: docs/lefusion.md).
"""

from __future__ import annotations

from domains.medical.lesions.downstream.__main__ import main
from shared.measured import ROOT

if __name__ == "__main__":
    main(["--record", "--out", str(ROOT / "results" / "downstream")])
